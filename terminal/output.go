package terminal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"text/template"

	"github.com/goccy/go-yaml"
	"github.com/spf13/pflag"
)

// Output is how results are written; its fields come from the flags -o and -f.
type Output struct {
	Format   string // table, json or yaml
	Template string // of text/template, applied to each item instead
}

// Formats of results.
var formats = []string{"table", "json", "yaml"}

// Flags adds -o and -f.
func (o *Output) Flags(flags *pflag.FlagSet) {
	flags.StringVarP(&o.Format, "output", "o", "table", "form of the result: table, json or yaml")
	flags.StringVarP(&o.Template, "template", "f", "", "Go template for each item, such as '{{.id}} {{.state}}' (functions: json, join)")
}

// Check refuses unknown formats and broken templates before anything is done.
func (o *Output) Check() error {
	if !slices.Contains(formats, o.Format) {
		return Usage("%q is not a form of output; use %s", o.Format, strings.Join(formats, ", "))
	}
	if _, err := o.parse(); err != nil {
		return Usage("the template is not one: %w", err)
	}
	return nil
}

// Column is one column of a table.
type Column[T any] struct {
	Title string
	Value func(T) string
}

// List writes many items. As JSON and YAML they are the HTTP interface's {"items": […], "next": ""}.
func List[T any](w io.Writer, o Output, items []T, columns []Column[T]) error {
	switch {
	case o.Template != "":
		for _, item := range items {
			if err := o.execute(w, item); err != nil {
				return err
			}
		}
		return nil
	case o.Format != "table":
		if items == nil {
			items = []T{}
		}
		return o.encode(w, struct {
			Items []T    `json:"items"`
			Next  string `json:"next"`
		}{Items: items})
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	titles := make([]string, len(columns))
	for i, column := range columns {
		titles[i] = strings.ToUpper(column.Title)
	}
	fmt.Fprintln(table, strings.Join(titles, "\t"))
	for _, item := range items {
		fmt.Fprintln(table, strings.Join(cells(item, columns), "\t"))
	}
	return table.Flush()
}

// Show writes one item, as a table one field a line.
func Show[T any](w io.Writer, o Output, item T, columns []Column[T]) error {
	switch {
	case o.Template != "":
		return o.execute(w, item)
	case o.Format != "table":
		return o.encode(w, item)
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i, cell := range cells(item, columns) {
		fmt.Fprintf(table, "%s\t%s\n", columns[i].Title, cell)
	}
	return table.Flush()
}

// cells are an item's texts, made safe for a terminal: what comes from elsewhere must not move the cursor.
func cells[T any](item T, columns []Column[T]) []string {
	texts := make([]string, len(columns))
	for i, column := range columns {
		texts[i] = strings.Map(printable, column.Value(item))
		if texts[i] == "" {
			texts[i] = "-"
		}
	}
	return texts
}

func printable(r rune) rune {
	if r < ' ' || r >= 0x7f && r < 0xa0 {
		return ' '
	}
	return r
}

func (o Output) encode(w io.Writer, value any) error {
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	if o.Format == "yaml" {
		if data, err = yaml.JSONToYAML(data); err != nil {
			return fmt.Errorf("write the result: %w", err)
		}
	}
	_, err = fmt.Fprintf(w, "%s\n", bytes.TrimRight(data, "\n"))
	return err
}

// execute applies the template to the item as the HTTP interface shows it, so that the names are the documented ones.
func (o Output) execute(w io.Writer, item any) error {
	parsed, err := o.parse()
	if err != nil {
		return Usage("the template is not one: %w", err)
	}
	data, err := json.Marshal(item)
	if err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	var fields any
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber() // whole numbers stay whole
	if err := decoder.Decode(&fields); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	var line strings.Builder
	if err := parsed.Execute(&line, fields); err != nil {
		return Usage("the template does not fit: %w", errors.Unwrap(err))
	}
	_, err = fmt.Fprintln(w, line.String())
	return err
}

func (o Output) parse() (*template.Template, error) {
	return template.New("-f").Option("missingkey=error").Funcs(template.FuncMap{
		"json": func(value any) (string, error) {
			data, err := json.Marshal(value)
			return string(data), err
		},
		"join": func(separator string, values []any) string {
			texts := make([]string, len(values))
			for i, value := range values {
				texts[i] = fmt.Sprint(value)
			}
			return strings.Join(texts, separator)
		},
	}).Parse(o.Template)
}
