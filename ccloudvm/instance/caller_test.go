package instance

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCaller(t *testing.T) {
	dir := t.TempDir()
	checkout := filepath.Join(dir, "src", "ciao")
	if err := os.MkdirAll(filepath.Join(checkout, "a", "b"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(checkout, "go.mod"), []byte(module+"\n\ngo 1.26\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	getenv := func(string) string { return "" }
	c := Caller{User: "john.doe", UID: 1234, GID: 100, Home: dir, Getenv: getenv, WorkDir: filepath.Join(checkout, "a", "b"), Program: "/usr/bin/ccloudvm"}
	if got := c.checkout(); got != checkout {
		t.Errorf("checkout around the working directory: %q", got)
	}
	c.WorkDir, c.Program = dir, filepath.Join(checkout, "bin", "ccloudvm")
	if got := c.checkout(); got != checkout {
		t.Errorf("checkout around the program: %q", got)
	}
	type login struct {
		name     string
		uid, gid int
	}
	for _, tt := range []struct {
		user string
		uid  int
		want login
	}{{"me", 1234, login{"me", 1234, 1234}}, {"john.doe", 1234, login{fallbackUser, 1234, 1234}}, {"root", 0, login{fallbackUser, fallbackUID, fallbackUID}}} {
		name, uid, gid := Caller{User: tt.user, UID: tt.uid, GID: tt.uid}.login()
		if diff := cmp.Diff(tt.want, login{name, uid, gid}, cmp.AllowUnexported(login{})); diff != "" {
			t.Errorf("login of %s (-want +got):\n%s", tt.user, diff)
		}
	}
}
