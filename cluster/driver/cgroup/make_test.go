package cgroup

import (
	"os"
	"path/filepath"
	"testing"
)

func TestRaise(t *testing.T) {
	version1 := func(memory, pids string) map[string]string {
		return map[string]string{"memory/vm/memory.limit_in_bytes": memory, "pids/vm/pids.max": pids}
	}
	version2 := func(memory, pids string) map[string]string {
		return map[string]string{"cgroup.controllers": "cpu memory pids\n", "vm/memory.max": memory, "vm/pids.max": pids}
	}
	for name, test := range map[string]struct{ before, after map[string]string }{
		"version 1":                  {version1("1048576\n", "10\n"), version1("2097152", "20")},
		"version 2":                  {version2("1048576\n", "10\n"), version2("2097152", "20")},
		"more is allowed":            {version1("4194304\n", "10\n"), version1("4194304\n", "20")},
		"everything is allowed":      {version2("max\n", "max\n"), version2("max\n", "max\n")},
		"there is no such group now": {nil, nil},
	} {
		root := t.TempDir()
		for path, content := range test.before {
			path = filepath.Join(root, path)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := Raise(root, "vm", Limits{MemoryMiB: 2, Pids: 20}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for path, want := range test.after {
			if got, err := os.ReadFile(filepath.Join(root, path)); err != nil || string(got) != want {
				t.Errorf("%s: %s is %q, %v, want %q", name, path, got, err, want)
			}
		}
	}
}
