package guest

import (
	"archive/tar"
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// tree describes everything below a directory.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text := info.Mode().String()
		switch {
		case info.Mode().IsRegular():
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text += " " + info.ModTime().UTC().Format(time.RFC3339) + " " + string(b)
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			text += " -> " + target
		}
		name, _ := filepath.Rel(dir, path)
		all[name] = text
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func sample(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "src")
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Join(dir, "a", "read-only"), 0o755))
	must(os.WriteFile(filepath.Join(dir, "run.sh"), []byte("#!/bin/sh\n"), 0o750))
	must(os.WriteFile(filepath.Join(dir, "a", "read-only", "f"), []byte("x"), 0o400))
	must(os.WriteFile(filepath.Join(dir, "empty"), nil, 0o644))
	must(os.Symlink("../run.sh", filepath.Join(dir, "a", "link")))
	must(os.Symlink("/nowhere", filepath.Join(dir, "dangling")))
	must(os.Chtimes(filepath.Join(dir, "run.sh"), time.Unix(1e9, 0), time.Unix(1e9, 0)))
	must(os.Chmod(filepath.Join(dir, "a", "read-only"), 0o555))
	t.Cleanup(func() { os.Chmod(filepath.Join(dir, "a", "read-only"), 0o755) })
	return dir
}

func TestPackAndUnpackKeepATree(t *testing.T) {
	source, target := sample(t), filepath.Join(t.TempDir(), "copy")
	var b bytes.Buffer
	if err := pack(&b, source); err != nil {
		t.Fatal(err)
	}
	stream := b.Bytes()
	if err := unpack(bytes.NewReader(stream), target, "src"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(filepath.Join(target, "a", "read-only"), 0o755) })
	if d := cmp.Diff(tree(t, source), tree(t, target)); d != "" {
		t.Errorf("copy (-want +got):\n%s", d)
	}
	into := t.TempDir()
	if err := unpack(bytes.NewReader(stream), into, "src"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(filepath.Join(into, "src", "a", "read-only"), 0o755) })
	if d := cmp.Diff(tree(t, source), tree(t, filepath.Join(into, "src"))); d != "" {
		t.Errorf("copy into a directory (-want +got):\n%s", d)
	}
}

func TestUnpackStaysInside(t *testing.T) {
	for _, c := range []struct {
		name    string
		entries []tar.Header
	}{
		{"parent", []tar.Header{{Name: "entry/../../evil", Typeflag: tar.TypeReg}}},
		{"absolute", []tar.Header{{Name: "/evil", Typeflag: tar.TypeReg}}},
		{"other name", []tar.Header{{Name: "evil", Typeflag: tar.TypeReg}}},
		{"through a link", []tar.Header{
			{Name: "entry", Typeflag: tar.TypeDir, Mode: 0o755},
			{Name: "entry/out", Typeflag: tar.TypeSymlink, Linkname: "../../.."},
			{Name: "entry/out/evil", Typeflag: tar.TypeReg}}},
		{"hard link outside", []tar.Header{{Name: "entry", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b bytes.Buffer
			w := tar.NewWriter(&b)
			for _, h := range c.entries {
				if err := w.WriteHeader(&h); err != nil {
					t.Fatal(err)
				}
			}
			w.Close()
			dir := t.TempDir()
			if err := unpack(&b, filepath.Join(dir, "deep", "er", "x"), "x"); err == nil {
				t.Error("a hostile stream was accepted")
			}
			for name := range tree(t, dir) {
				if base := filepath.Base(name); base == "evil" || base == "x" {
					t.Errorf("left %s", name)
				}
			}
		})
	}
}

func TestBrokenStreamLeavesNothing(t *testing.T) {
	var b bytes.Buffer
	if err := pack(&b, sample(t)); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := unpack(bytes.NewReader(b.Bytes()[:b.Len()/2]), filepath.Join(dir, "x"), "x"); err == nil {
		t.Error("half a stream was accepted")
	}
	if left := tree(t, dir); len(left) != 1 {
		t.Errorf("left %v", left)
	}
}
