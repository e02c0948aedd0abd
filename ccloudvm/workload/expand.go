package workload

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"text/template"
	"text/template/parse"

	"github.com/ciaocloud/ciao/ccloudvm"
)

// rendered is an expanded document that still knows which line of the file each of its lines was written on.
type rendered struct {
	file string
	text string
	from []int // from[i] is the line of the file that line i (from 0) of text came from
}

// at is the place in the file of a line and column of the text, both from 1.
func (r rendered) at(line, column int) Position {
	if line < 1 || len(r.from) == 0 {
		return Position{File: r.file}
	}
	return Position{File: r.file, Line: r.from[min(line, len(r.from))-1], Column: column}
}

// mark surrounds the number of a source line in the middle of an expansion. It is a control character that YAML does not allow,
// so no document can hold it (plain refuses it).
const mark = "\x01"

// expand executes the document as a template. The line numbers of the file survive: each line of the template's own text carries its
// number through the execution, and loses it again afterwards.
func expand(doc document, data any, functions template.FuncMap) (rendered, error) {
	if i := strings.IndexAny(doc.text, mark); i >= 0 {
		line := doc.line + strings.Count(doc.text[:i], "\n")
		return rendered{}, Problems{{Position{doc.file, line, 0}, "", "a control character (U+0001) is not allowed in YAML"}}
	}
	t, err := template.New(doc.file).Funcs(functions).Option("missingkey=error").Parse(doc.text)
	if err != nil {
		return rendered{}, templateProblem(doc, err)
	}
	for _, each := range t.Templates() {
		if each.Tree != nil {
			number(each.Tree.Root, doc)
		}
	}
	out := &limitedBuffer{limit: maxRendered}
	if err := t.Execute(out, data); err != nil {
		return rendered{}, templateProblem(doc, err)
	}
	return unmark(doc, out.String()), nil
}

// number puts the line of the file at the start of each line of the template's text.
func number(node parse.Node, doc document) {
	switch n := node.(type) {
	case *parse.ListNode:
		if n == nil {
			return
		}
		for _, child := range n.Nodes {
			number(child, doc)
		}
	case *parse.TextNode:
		line := doc.line + strings.Count(doc.text[:min(int(n.Pos), len(doc.text))], "\n")
		var b bytes.Buffer
		b.WriteString(mark + strconv.Itoa(line) + mark)
		for part := range bytes.Lines(n.Text) {
			b.Write(part)
			if bytes.HasSuffix(part, []byte("\n")) {
				line++
				b.WriteString(mark + strconv.Itoa(line) + mark)
			}
		}
		n.Text = b.Bytes()
	case *parse.IfNode:
		number(n.List, doc)
		number(n.ElseList, doc)
	case *parse.RangeNode:
		number(n.List, doc)
		number(n.ElseList, doc)
	case *parse.WithNode:
		number(n.List, doc)
		number(n.ElseList, doc)
	}
}

var marks = regexp.MustCompile(mark + `[0-9]+` + mark)

// unmark takes the numbers out again.
func unmark(doc document, text string) rendered {
	r := rendered{file: doc.file}
	var b strings.Builder
	line := doc.line
	for part := range strings.Lines(text) {
		// A line that begins with text of the template begins with its number, or with several: the last stands beside the content.
		// A line that begins inside the value of an action belongs to the line of that action.
		for rest := part; strings.HasPrefix(rest, mark); {
			end := strings.Index(rest[1:], mark) + 2
			line, rest = lineOf(rest[:end]), rest[end:]
		}
		r.from = append(r.from, line)
		b.WriteString(marks.ReplaceAllString(part, ""))
	}
	r.text = b.String()
	return r
}

func lineOf(marked string) int {
	n, _ := strconv.Atoi(strings.Trim(marked, mark))
	return n
}

var templatePosition = regexp.MustCompile(`:(\d+)(?::(\d+))?: (?s:(.*))$`)

// templateProblem says where in the file a template went wrong. The template package counts lines from the document's beginning.
func templateProblem(doc document, err error) error {
	if errors.Is(err, errTooLong) {
		return Problems{{Position{File: doc.file, Line: doc.line}, "", errTooLong.Error()}}
	}
	text, at := err.Error(), Position{File: doc.file, Line: doc.line}
	text = strings.TrimPrefix(text, "template: "+doc.file)
	if m := templatePosition.FindStringSubmatch(text); m != nil {
		line, _ := strconv.Atoi(m[1])
		at.Line, text = doc.line+line-1, m[3]
		if m[2] != "" {
			at.Column, _ = strconv.Atoi(m[2])
		}
	}
	return Problems{{at, "", "template: " + strings.ReplaceAll(text, mark, "")}}
}

var errTooLong = fmt.Errorf("the document expands to more than %d MiB: %w", maxRendered>>20, ccloudvm.ErrInvalid)

// limitedBuffer refuses to grow beyond its limit.
type limitedBuffer struct {
	bytes.Buffer
	limit int
}

func (b *limitedBuffer) Write(p []byte) (int, error) {
	if b.Len()+len(p) > b.limit {
		return 0, errTooLong
	}
	return b.Buffer.Write(p)
}
