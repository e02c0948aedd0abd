package workload

import (
	"fmt"
	"strings"

	"github.com/ciaocloud/ciao/ccloudvm"
)

// Position is where in a workload file something was written. Line 0 means that the place is not known.
type Position struct {
	File   string
	Line   int // from 1
	Column int // from 1, in the text as rendered; 0: not known
}

func (p Position) String() string {
	switch {
	case p.Line == 0:
		return p.File
	case p.Column == 0:
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	default:
		return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
	}
}

// Problem is one thing wrong with a workload.
type Problem struct {
	Position Position
	Field    string // path of the field, such as vm.ports[1].host; empty when the document itself is meant
	Text     string // what is wrong and what would be right
}

func (p Problem) String() string {
	var b strings.Builder
	if p.Position.File != "" {
		b.WriteString(p.Position.String() + ": ")
	}
	if p.Field != "" {
		b.WriteString(p.Field + ": ")
	}
	b.WriteString(p.Text)
	return b.String()
}

// Problems is everything wrong with a workload, as one error of class ccloudvm.ErrInvalid.
type Problems []Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, problem := range p {
		lines[i] = problem.String()
	}
	return strings.Join(lines, "\n")
}

// Unwrap makes errors.Is find the class.
func (p Problems) Unwrap() error { return ccloudvm.ErrInvalid }

// err is p as an error, or nil when there is nothing wrong.
func (p Problems) err() error {
	if len(p) == 0 {
		return nil
	}
	return p
}

func (p *Problems) add(at Position, field, format string, args ...any) {
	*p = append(*p, Problem{Position: at, Field: field, Text: fmt.Sprintf(format, args...)})
}
