package workload

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// render merges the cloud-configs of a chain of workloads, the root first.
func render(t *testing.T, ws Workspace, configs ...string) (string, error) {
	t.Helper()
	w := &Workload{}
	names := []string{"parent", "child", "grandchild"}
	for i, text := range configs {
		_, doc, err := split(Source{Origin: names[i], Text: []byte("---\n---\n" + text)})
		if err != nil {
			return "", err
		}
		w.chain = append(w.chain, &level{config: doc})
	}
	out, err := w.CloudConfig(ws, "", "")
	return string(out), err
}

func TestMergeCloudConfig(t *testing.T) {
	tests := []struct {
		name    string
		configs []string
		want    string
	}{
		{"only the parent's", []string{"timezone: UTC\n", "hostname: h\n"}, `{"timezone":"UTC","hostname":"h"}`},
		{"lists: parent, then child", []string{"runcmd: [a, b]\n", "runcmd:\n- b\n- [c, 1]\n"}, `{"runcmd":["a","b","b",["c",1]]}`},
		{"maps, one level deep", []string{"apt: {proxy: p, conf: {x: 1, y: 2}}\n", "apt: {conf: {x: 3}, q: r}\n"},
			`{"apt":{"proxy":"p","conf":{"x":3},"q":"r"}}`},
		{"scalars: the child's", []string{"hostname: p\npackage_update: true\n", "hostname: c\npackage_update: false\n"},
			`{"hostname":"c","package_update":false}`},
		{"null says nothing", []string{"apt:\nruncmd: [a]\n", "runcmd:\nlocale: ~\n"}, `{"runcmd":["a"]}`},
		{"null, then something", []string{"apt:\n", "apt: {proxy: p}\n"}, `{"apt":{"proxy":"p"}}`},
		{"what YAML 1.1 takes for truth", []string{"ssh_pwauth: no\na: \"no\"\nb: 'on'\nc: Yes\n"}, `{"ssh_pwauth":false,"a":"no","b":"on","c":true}`},
		{"octal, dates and times", []string{"a: 0644\nb: '0644'\nc: 2030-01-02\nd: 22:22\n"}, `{"a":420,"b":"0644","c":"2030-01-02","d":"22:22"}`},
		{"blocks and anchors", []string{"a: &x\n- 1\nb: *x\nc: |\n  l1\n  l2\nd: >-\n  f1\n  f2\n"}, `{"a":[1],"b":[1],"c":"l1\nl2\n","d":"f1 f2"}`},
		{"an empty document", []string{"#cloud-config\n", ""}, `{}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := render(t, Workspace{}, tt.configs...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, compact(got)); diff != "" {
				t.Errorf("cloud-config (-want +got):\n%s", diff)
			}
		})
	}
}

// compact takes the header and the indentation away; the tests' own texts have no blanks after a line break.
func compact(config string) string {
	var b strings.Builder
	for line := range strings.Lines(strings.TrimPrefix(config, "#cloud-config\n")) {
		b.WriteString(strings.TrimSpace(strings.Replace(line, "\": ", "\":", 1)))
	}
	return b.String()
}

func TestCloudConfigProblems(t *testing.T) {
	tests := []struct {
		name    string
		configs []string
		want    []string
	}{
		{"two types for one key", []string{"\nfoo: [a]\n", "foo:\n  a: b\n"}, []string{"child:3:1: foo: is a map here and a list in parent:4:1"}},
		{"broken indentation", []string{"runcmd:\n - a\n  - b\n- c\n"}, []string{"parent:"}},
		{"a tab", []string{"users:\n\t- x\n"}, []string{"parent:4:"}},
		{"an open quote", []string{"a: b\nruncmd:\n - \"a\n"}, []string{"parent:5:4: not YAML: "}},
		{"runcmd is no list", []string{"a: b\nruncmd: echo hello\n"}, []string{"parent:4:1: runcmd: must be a list of commands"}},
		{"a command that YAML reads as a map", []string{"runcmd:\n- echo hello\n- echo a: b\n"},
			[]string{"parent:3:1: runcmd: must be a list of commands, each of them text or a list of words, and is a list whose item 2 is a map"}},
		{"several", []string{"packages: {a: b}\nhostname: [x]\nwrite_files:\n- content: x\n"}, []string{
			"parent:3:1: packages: must be a list of package names",
			"parent:4:1: hostname: must be text, and is a list",
			"parent:5:1: write_files: must be a list of maps with a path",
		}},
		{"not a map", []string{"- a\n"}, []string{"parent:3:1: a cloud-config is a map of keys"}},
		{"text", []string{"#!/bin/sh\necho hello\n"}, []string{"parent:4:1: a cloud-config is a map of keys"}},
		{"line of the file behind a template", []string{"{{range .Mounts}}\n# {{.Path}}\n{{end}}\n\nruncmd: 5\n"}, []string{"parent:7:1: runcmd: must be"}},
		{"unknown function", []string{"runcmd:\n- {{startTask . \"x\"}}\n"}, []string{"parent:4: template: function \"startTask\" not defined"}},
		{"unknown field", []string{"runcmd:\n- {{.Nothing}}\n"}, []string{"parent:4:"}},
		{"alias without anchor", []string{"a: *x\n"}, []string{"parent:3:"}},
		{"aliases that multiply", []string{bomb()}, []string{"parent:"}},
		{"nested too deep", []string{"a: " + strings.Repeat("[", 100) + strings.Repeat("]", 100) + "\n"}, []string{"parent:3: the document is nested deeper"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := render(t, Workspace{Mounts: make([]Mount, 3)}, tt.configs...)
			wantProblems(t, err, tt.want)
		})
	}
}

// bomb is a document of a few hundred bytes that stands for 10^9 values.
func bomb() string {
	var b strings.Builder
	b.WriteString("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n")
	for i := range 8 {
		prev := "*a" + string(rune('0'+i))
		name := "a" + string(rune('1'+i))
		b.WriteString(name + ": &" + name + " [" + strings.Repeat(prev+",", 9) + prev + "]\n")
	}
	return b.String()
}
