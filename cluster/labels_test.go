package cluster

import (
	"fmt"
	"maps"
	"strings"
	"testing"
)

func TestLabels(t *testing.T) {
	many := map[string]string{}
	for i := range MaxLabels {
		many[fmt.Sprint(i)] = ""
	}
	tooMany := maps.Clone(many)
	tooMany["more"] = ""
	long := map[string]string{strings.Repeat("k", MaxLabelKey): strings.Repeat("v", MaxLabelValue)}
	for name, test := range map[string]struct {
		labels, kept map[string]string
		path         string // of the first problem
	}{
		"none":      {},
		"most":      {labels: many, kept: many},
		"too many":  {labels: tooMany, path: "at"},
		"longest":   {labels: long, kept: long},
		"empty key": {labels: map[string]string{"": "v", "k": "v"}, kept: map[string]string{"k": "v"}, path: "at."},
		"long key":  {labels: map[string]string{strings.Repeat("k", MaxLabelKey+1): ""}, path: "at." + strings.Repeat("k", MaxLabelKey+1)},
		"long value": {
			labels: map[string]string{"k": strings.Repeat("v", MaxLabelValue+1), "l": ""}, kept: map[string]string{"l": ""}, path: "at.k",
		},
	} {
		var problems Problems
		problems.AddLabels("at", test.labels)
		if (len(problems) != 0) != (test.path != "") || len(problems) > 0 && problems[0].Path != test.path {
			t.Errorf("%s: problems are %v", name, problems)
		}
		if kept := BoundedLabels(test.labels); !maps.Equal(kept, test.kept) {
			t.Errorf("%s: %d are kept, want %d", name, len(kept), len(test.kept))
		}
	}
}

func TestLabelled(t *testing.T) {
	labels := map[string]string{"zone": "a", "disk": ""}
	for _, test := range []struct {
		wanted map[string]string
		want   bool
	}{
		{nil, true},
		{map[string]string{"zone": "a"}, true},
		{map[string]string{"zone": "a", "disk": ""}, true},
		{map[string]string{"zone": "b"}, false},
		{map[string]string{"zone": "a", "gpu": ""}, false},
	} {
		if got := Labelled(labels, test.wanted); got != test.want {
			t.Errorf("%v has %v: %t", labels, test.wanted, got)
		}
	}
}
