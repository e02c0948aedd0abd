package terminal

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Stream writes items as they come: as a table one a line, below its titles; as JSON one object a line; as YAML one document each.
type Stream[T any] struct {
	out     io.Writer
	form    Output
	columns []Column[T]
	widths  []int // of the table's columns so far
}

// NewStream begins a stream.
func NewStream[T any](out io.Writer, form Output, columns []Column[T]) *Stream[T] {
	return &Stream[T]{out: out, form: form, columns: columns}
}

// Write writes one item.
func (s *Stream[T]) Write(item T) error {
	switch {
	case s.form.Template != "":
		return s.form.execute(s.out, item)
	case s.form.Format == "json":
		data, err := json.Marshal(item)
		if err == nil {
			_, err = fmt.Fprintf(s.out, "%s\n", data)
		}
		return err
	case s.form.Format == "yaml":
		if _, err := fmt.Fprintln(s.out, "---"); err != nil {
			return err
		}
		return s.form.encode(s.out, item)
	}
	return s.row(item)
}

func (s *Stream[T]) row(item T) error {
	cells := make([]string, len(s.columns))
	if s.widths == nil {
		s.widths = make([]int, len(s.columns))
		for i, column := range s.columns {
			cells[i] = strings.ToUpper(column.Title)
		}
		if err := s.line(cells); err != nil {
			return err
		}
	}
	for i, column := range s.columns {
		cells[i] = cell(column, item)
	}
	return s.line(cells)
}

// line pads all cells but the last to the widest of their column so far: what was written cannot move any more.
func (s *Stream[T]) line(cells []string) error {
	var text strings.Builder
	for i, cell := range cells {
		text.WriteString(cell)
		if i == len(cells)-1 {
			break
		}
		width := utf8.RuneCountInString(cell)
		s.widths[i] = max(s.widths[i], width)
		text.WriteString(strings.Repeat(" ", s.widths[i]-width+2))
	}
	_, err := fmt.Fprintln(s.out, text.String())
	return err
}
