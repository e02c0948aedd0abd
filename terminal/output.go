package terminal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/spf13/pflag"
)

// Output is how results are written; its fields come from the flags -o and -f.
type Output struct {
	Format   string // table, json or yaml
	Template string // of text/template, applied to each item instead
}

// Formats are the forms of results.
func Formats() []string { return []string{"table", "json", "yaml"} }

// Flags adds -o and -f.
func (o *Output) Flags(flags *pflag.FlagSet) {
	flags.StringVarP(&o.Format, "output", "o", "table", "form of the result: table, json or yaml")
	flags.StringVarP(&o.Template, "template", "f", "", "Go template for each item, such as '{{.id}} {{.state}}' (functions: json, join)")
}

// Check refuses unknown formats and broken templates before anything is done.
func (o *Output) Check() error {
	if !slices.Contains(Formats(), o.Format) {
		return Usage("%q is not a form of output; use %s", o.Format, strings.Join(Formats(), ", "))
	}
	_, err := o.parse()
	return err
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
	return rows(w, items, columns)
}

// Show writes one item, as a table one field a line.
func Show[T any](w io.Writer, o Output, item T, columns []Column[T]) error {
	switch {
	case o.Template != "":
		return o.execute(w, item)
	case o.Format != "table":
		return o.encode(w, item)
	}
	return fields(w, item, columns)
}

func (o Output) encode(w io.Writer, value any) error {
	var data bytes.Buffer
	encoder := json.NewEncoder(&data)
	encoder.SetEscapeHTML(false) // a terminal is no page: & stays readable
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(value); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	text := data.Bytes()
	if o.Format == "yaml" {
		var err error
		if text, err = yaml.JSONToYAML(text); err != nil {
			return fmt.Errorf("write the result: %w", err)
		}
	}
	_, err := w.Write(text)
	return err
}
