package terminal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"text/template"
)

func (o Output) parse() (*template.Template, error) {
	parsed, err := template.New("-f").Option("missingkey=error").Funcs(template.FuncMap{"json": toJSON, "join": join}).Parse(o.Template)
	if err != nil {
		return nil, Usage("the template is not one: %w", err)
	}
	return parsed, nil
}

func toJSON(value any) (string, error) {
	data, err := json.Marshal(value)
	return string(data), err
}

func join(separator string, values []any) string {
	texts := make([]string, len(values))
	for i, value := range values {
		texts[i] = fmt.Sprint(value)
	}
	return strings.Join(texts, separator)
}

// execute applies the template to the item as the HTTP interface shows it, so that the names are the documented ones.
func (o Output) execute(w io.Writer, item any) error {
	parsed, err := o.parse()
	if err != nil {
		return err
	}
	fields, err := fieldsOf(item)
	if err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	var line strings.Builder
	if err := parsed.Execute(&line, fields); err != nil {
		_, problem, _ := strings.Cut(err.Error(), `executing "-f" `)
		return Usage("the template does not fit: %s; the fields are %s", problem, strings.Join(slices.Sorted(maps.Keys(fields)), " "))
	}
	_, err = fmt.Fprintln(w, line.String())
	return err
}

// fieldsOf is an item, a struct, as its JSON. Fields that JSON leaves out when they are empty are there and nil, so that a template
// need not know which have a value now, and a misspelt one is an error all the same.
func fieldsOf(item any) (map[string]any, error) {
	data, err := json.Marshal(item)
	if err != nil {
		return nil, err
	}
	fields := make(map[string]any)
	for _, field := range reflect.VisibleFields(reflect.TypeOf(item)) {
		if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); name != "" && name != "-" {
			fields[name] = nil
		}
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber() // whole numbers stay whole
	return fields, decoder.Decode(&fields)
}
