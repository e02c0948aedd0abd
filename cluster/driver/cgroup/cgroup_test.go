package cgroup

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestRead(t *testing.T) {
	version1 := map[string]string{
		"memory/docker/c/memory.usage_in_bytes": "3000\n",
		"memory/docker/c/memory.stat":           "cache 9\ntotal_inactive_file 1000\n",
		"cpuacct/docker/c/cpuacct.usage":        "5000000000\n",
		"pids/docker/c/pids.current":            "7\n",
	}
	version2 := func(directory string) map[string]string {
		return map[string]string{
			directory + "/memory.current": "3000\n",
			directory + "/memory.stat":    "anon 1\ninactive_file 1000\n",
			directory + "/cpu.stat":       "usage_usec 5000000\nuser_usec 1\n",
			directory + "/pids.current":   "7\n",
		}
	}
	tests := map[string]struct {
		files map[string]string
		want  Usage
		found bool
	}{
		"version 1":               {version1, Usage{5 * time.Second, 2000, 7}, true},
		"version 2":               {version2("docker/c"), Usage{5 * time.Second, 2000, 7}, true},
		"version 2 under systemd": {version2("system.slice/docker-c.scope"), Usage{5 * time.Second, 2000, 7}, true},
		"not in sight":            {nil, Usage{}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			for path, content := range test.files {
				path = filepath.Join(root, path)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if got, found := Read(root, "docker/c", "system.slice/docker-c.scope"); got != test.want || found != test.found {
				t.Errorf("got %+v, %t; want %+v, %t", got, found, test.want, test.found)
			}
		})
	}
}
