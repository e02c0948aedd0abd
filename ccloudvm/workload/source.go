package workload

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/ciaocloud/ciao/ccloudvm"
)

// Source is the text of a workload file and where it came from.
type Source struct {
	Ref    string // what was asked for
	Origin string // the path or URL it was read from, "embedded:NAME" for an embedded one: errors begin with it
	Text   []byte
}

// document is one of the two documents of a file, before its template is expanded.
type document struct {
	file  string
	line  int // the line of the file that the text begins on
	text  string
	empty bool
}

// split cuts a file into its spec and its cloud-config. Documents begin at a line "---" and end at the next one, at a line "..."
// or with the file; a file without a second document has an empty cloud-config.
func split(src Source) (spec, config document, err error) {
	if len(src.Text) > maxFile {
		return spec, config, fmt.Errorf("%s is larger than the %d KiB a workload file may have: %w", src.Origin, maxFile>>10, ccloudvm.ErrInvalid)
	}
	if i := bytes.IndexByte(src.Text, 0); i >= 0 {
		return spec, config, fmt.Errorf("%s holds a zero byte at offset %d: a workload file is text: %w", src.Origin, i, ccloudvm.ErrInvalid)
	}
	docs := documents(src)
	if len(docs) > 2 {
		return spec, config, Problems{{Position{src.Origin, docs[2].line, 1}, "",
			"a third YAML document begins here: a workload is a spec document and a cloud-config document"}}
	}
	for len(docs) < 2 {
		docs = append(docs, document{file: src.Origin, empty: true})
	}
	return docs[0], docs[1], nil
}

// documents returns the documents of a file in order, leaving out blank ones before the first separator and after the last.
func documents(src Source) []document {
	var docs []document
	var current strings.Builder
	begin, opened := 1, false
	finish := func() {
		text := current.String()
		current.Reset()
		blank := onlyComments(text)
		if opened || !blank {
			docs = append(docs, document{file: src.Origin, line: begin, text: text, empty: blank})
		}
	}
	number := 0
	for line := range strings.Lines(string(src.Text)) {
		number++
		switch strings.TrimRight(line, " \t\r\n") {
		case "---":
			finish()
			begin, opened = number+1, true
		case "...":
			finish()
			begin, opened = number+1, false
		default:
			current.WriteString(strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r") + "\n")
		}
	}
	finish()
	return docs
}

func onlyComments(text string) bool {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			return false
		}
	}
	return true
}
