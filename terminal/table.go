package terminal

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Column is one column of a table.
type Column[T any] struct {
	Title string
	Value func(T) string
}

// maxCell is the width beyond which a cell of a list is cut; the field of a single item never is.
const maxCell = 80

// Choose picks columns by their titles, in the order of the titles.
func Choose[T any](columns []Column[T], titles ...string) []Column[T] {
	chosen := make([]Column[T], 0, len(titles))
	for _, title := range titles {
		for _, column := range columns {
			if column.Title == title {
				chosen = append(chosen, column)
			}
		}
	}
	return chosen
}

// rows writes one item a line.
func rows[T any](w io.Writer, items []T, columns []Column[T]) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i, column := range columns {
		fmt.Fprint(table, strings.ToUpper(column.Title), separator(i, columns))
	}
	for _, item := range items {
		for i, column := range columns {
			fmt.Fprint(table, shorten(cell(column, item)), separator(i, columns))
		}
	}
	return table.Flush()
}

func separator[T any](i int, columns []Column[T]) string {
	if i == len(columns)-1 {
		return "\n"
	}
	return "\t"
}

// fields writes one field of an item a line.
func fields[T any](w io.Writer, item T, columns []Column[T]) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, column := range columns {
		fmt.Fprintf(table, "%s\t%s\n", column.Title, cell(column, item))
	}
	return table.Flush()
}

func cell[T any](column Column[T], item T) string {
	if text := printable(column.Value(item)); text != "" {
		return text
	}
	return "-"
}

// printable makes text safe for a terminal: what comes from elsewhere must not move the cursor.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, text)
}

func shorten(text string) string {
	if runes := []rune(text); len(runes) > maxCell {
		return string(runes[:maxCell-1]) + "…"
	}
	return text
}
