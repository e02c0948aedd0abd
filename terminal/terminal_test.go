package terminal

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

type thing struct {
	ID    string   `json:"id"`
	Count int      `json:"count"`
	Tags  []string `json:"tags"`
	Note  *string  `json:"note,omitempty"`
}

var thingColumns = []Column[thing]{
	{"id", func(t thing) string { return t.ID }},
	{"tags", func(t thing) string { return strings.Join(t.Tags, ",") }},
}

func TestForms(t *testing.T) {
	items := []thing{{ID: "a", Count: 123456789, Tags: []string{"x", "y"}}, {ID: "b"}}
	for _, test := range []struct {
		name   string
		output Output
		want   string
	}{
		{"table", Output{Format: "table"}, "ID  TAGS\na   x,y\nb   -\n"},
		{"JSON", Output{Format: "json"}, "{\n  \"items\": [\n    {\n      \"id\": \"a\",\n      \"count\": 123456789,\n      \"tags\": [\n        \"x\",\n        \"y\"\n      ]\n    },\n    {\n      \"id\": \"b\",\n      \"count\": 0,\n      \"tags\": null\n    }\n  ],\n  \"next\": \"\"\n}\n"},
		{"template over a field without a value", Output{Format: "table", Template: `{{.id}}{{with .note}}: {{.}}{{end}}`}, "a\nb\n"},
		{"functions of templates", Output{Format: "table", Template: `{{with .tags}}{{join "+" .}}{{end}} {{json .tags}}`}, "x+y [\"x\",\"y\"]\n null\n"},
		{"template", Output{Format: "table", Template: `{{.id}}={{.count}}`}, "a=123456789\nb=0\n"},
		{"yaml", Output{Format: "yaml"}, "items:\n- id: a\n  count: 123456789\n  tags:\n  - x\n  - \"y\"\n- id: b\n  count: 0\n  tags: null\nnext: \"\"\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out bytes.Buffer
			if err := List(&out, test.output, items, thingColumns); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, out.String()); diff != "" {
				t.Errorf("output differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTablesDoNotMoveTheCursor(t *testing.T) {
	var out bytes.Buffer
	if err := Show(&out, Output{Format: "table"}, thing{ID: "b\x1b[2J\n"}, thingColumns); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "id    b [2J \ntags  -\n"; got != want {
		t.Errorf("output = %q, want %q", got, want)
	}
}

func TestJSONIsForReadingToo(t *testing.T) {
	var out bytes.Buffer
	if err := Show(&out, Output{Format: "json"}, thing{ID: "a && b > c"}, thingColumns); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); !strings.Contains(got, `"a && b > c"`) {
		t.Errorf("output = %s", got)
	}
}

func TestListsCutLongCells(t *testing.T) {
	long := thing{ID: strings.Repeat("ä", maxCell+1)}
	var list, show bytes.Buffer
	if err := List(&list, Output{Format: "table"}, []thing{long, {ID: strings.Repeat("ä", maxCell)}}, thingColumns[:1]); err != nil {
		t.Fatal(err)
	}
	if err := Show(&show, Output{Format: "table"}, long, thingColumns[:1]); err != nil {
		t.Fatal(err)
	}
	if want := "ID\n" + strings.Repeat("ä", maxCell-1) + "…\n" + strings.Repeat("ä", maxCell) + "\n"; list.String() != want {
		t.Errorf("list = %s", list.String())
	}
	if want := "id  " + long.ID + "\n"; show.String() != want {
		t.Errorf("show = %s", show.String())
	}
}

func TestChooseKeepsTheOrderAskedFor(t *testing.T) {
	var titles []string
	for _, column := range Choose(thingColumns, "tags", "id") {
		titles = append(titles, column.Title)
	}
	if diff := cmp.Diff([]string{"tags", "id"}, titles); diff != "" {
		t.Errorf("(-want +got): %s", diff)
	}
}

func TestTemplateThatDoesNotFitNamesTheFields(t *testing.T) {
	var out bytes.Buffer
	err := Show(&out, Output{Template: "{{.idd}}"}, thing{}, thingColumns)
	if err == nil || !isUsage(err) || !strings.Contains(err.Error(), `at <.idd>: map has no entry for key "idd"; the fields are count id note tags`) || out.Len() != 0 {
		t.Errorf("error %v, output %q", err, out.String())
	}
}

func TestNearest(t *testing.T) {
	names := []string{"busybox", "web-1", "web-2", "web-3", "web-4", "db"}
	for word, want := range map[string][]string{
		"busybxo": {"busybox"}, "Busybox": {"busybox"}, "busy": {"busybox"}, "wbe-2": {"web-2"}, "web": {"web-1", "web-2", "web-3"},
		"nothing-like-it": {}, "": nil, "x": {},
	} {
		if diff := cmp.Diff(want, Nearest(word, names)); diff != "" {
			t.Errorf("%q (-want +got): %s", word, diff)
		}
	}
}

func TestErrorsAreSafe(t *testing.T) {
	var problems bytes.Buffer
	tree := Group("tool", "a tool", &cobra.Command{Use: "fail", RunE: func(*cobra.Command, []string) error { return errors.New("two\nlines \x1b[2J") }})
	if code := Run(tree, []string{"fail"}, Streams{Out: &problems, Err: &problems}, func(error) int { return 7 }); code != 7 {
		t.Errorf("exit code %d", code)
	}
	if got, want := problems.String(), "tool: two\n  lines  [2J\n"; got != want {
		t.Errorf("said %q, want %q", got, want)
	}
}

func TestEmptyListIsAListInJSON(t *testing.T) {
	var out bytes.Buffer
	if err := List[thing](&out, Output{Format: "json"}, nil, thingColumns); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); !strings.Contains(got, `"items": []`) {
		t.Errorf("output = %s", got)
	}
}

func TestWrongUse(t *testing.T) {
	failure := errors.New("broken")
	tree := func() *cobra.Command {
		var output Output
		show := &cobra.Command{Use: "show NAME", Args: Arguments("NAME"), RunE: func(_ *cobra.Command, args []string) error {
			if err := output.Check(); err != nil {
				return err
			}
			return failure
		}}
		output.Flags(show.Flags())
		root := Group("tool", "a tool", show)
		return root
	}
	for _, test := range []struct {
		name, args string
		code       int
		says       string
	}{
		{"missing argument", "show", ExitUsage, "NAME is missing; use: tool show NAME"},
		{"too many", "show a b", ExitUsage, `"b" is one argument too many`},
		{"unknown command", "shwo", ExitUsage, "did you mean show?"},
		{"unknown flag", "show a --colour", ExitUsage, "`tool show --help` shows the flags"},
		{"unknown form", "show a -o xml", ExitUsage, `"xml" is not a form of output; use table, json, yaml`},
		{"broken template", "show a -f {{", ExitUsage, "the template is not one"},
		{"flags behind arguments", "show a -o json", 7, "broken"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out, problems bytes.Buffer
			code := Run(tree(), strings.Fields(test.args), Streams{Out: &out, Err: &problems}, func(error) int { return 7 })
			if code != test.code || !strings.Contains(problems.String(), test.says) {
				t.Errorf("exit code %d (want %d), said %q (want %q)", code, test.code, problems.String(), test.says)
			}
			if out.Len() != 0 {
				t.Errorf("standard output has %q", out.String())
			}
			if strings.Count(problems.String(), "\n") != 1 {
				t.Errorf("not one line: %q", problems.String())
			}
		})
	}
}

func TestStream(t *testing.T) {
	type thing struct {
		Name string `json:"name"`
		Size int    `json:"size"`
	}
	columns := []Column[thing]{
		{Title: "name", Value: func(i thing) string { return i.Name }}, {Title: "size", Value: func(i thing) string { return strconv.Itoa(i.Size) }},
	}
	for form, want := range map[Output]string{
		{Format: "table"}:                        "NAME  SIZE\na     1\nlonger  2\nb       3\n",
		{Format: "json"}:                         `{"name":"a","size":1}` + "\n" + `{"name":"longer","size":2}` + "\n" + `{"name":"b","size":3}` + "\n",
		{Format: "yaml"}:                         "---\nname: a\nsize: 1\n---\nname: longer\nsize: 2\n---\nname: b\nsize: 3\n",
		{Format: "table", Template: "{{.size}}"}: "1\n2\n3\n",
	} {
		var out bytes.Buffer
		stream := NewStream(&out, form, columns)
		for _, item := range []thing{{"a", 1}, {"longer", 2}, {"b", 3}} {
			if err := stream.Write(item); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(want, out.String()); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", form, diff)
		}
	}
}
