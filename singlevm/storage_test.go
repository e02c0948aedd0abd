package singlevm

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/ciaocloud/ciao/cluster"
)

// TestStorageIsKept: what one setup was given, the next has without; what is no such part is refused, and changes nothing.
func TestStorageIsKept(t *testing.T) {
	l := layout{t.TempDir()}
	part := filepath.Join(t.TempDir(), "part")
	for _, step := range []struct {
		file, text, kept string
		class            error
	}{
		{"", "", "", nil},
		{part, "storage:\n  ceph: {pool: one}\n", "storage:\n  ceph: {pool: one}\n", nil},
		{"", "", "storage:\n  ceph: {pool: one}\n", nil},
		{part, "name: other\n", "storage:\n  ceph: {pool: one}\n", cluster.ErrInvalid},
		{part + "2", "", "storage:\n  ceph: {pool: one}\n", cluster.ErrInvalid},
	} {
		if err := os.WriteFile(part, []byte(step.text), 0o600); err != nil {
			t.Fatal(err)
		}
		s := &Setup{config: Config{Storage: step.file}, layout: l}
		if err := s.keepStorage(); !errors.Is(err, step.class) {
			t.Errorf("%+v: %v", step, err)
		}
		if kept, err := os.ReadFile(l.storageFile()); string(kept) != step.kept || err != nil && step.kept != "" {
			t.Errorf("%+v: kept %q, %v", step, kept, err)
		}
	}
}
