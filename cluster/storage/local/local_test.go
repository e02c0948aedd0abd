package local

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/storage"
	"github.com/ciaocloud/ciao/cluster/storage/storagetest"
	"github.com/ciaocloud/ciao/require"
)

const note = "from an image"

func TestConformance(t *testing.T) {
	require.Root(t)
	require.Command(t, "qemu-img")
	require.Command(t, "qemu-io")
	storagetest.Run(t, []cluster.VolumeContent{cluster.ContentDisk, cluster.ContentFiles}, func(t *testing.T) storagetest.Harness {
		directory := t.TempDir()
		var opened *Driver
		open := func(t *testing.T) storage.Driver {
			if opened != nil {
				opened.Close()
			}
			var err error
			if opened, err = Open(directory); err != nil {
				t.Fatal(err)
			}
			return opened
		}
		return storagetest.Harness{
			Driver: open(t), Reopen: open, Write: write, Read: read, Size: size, Note: note,
			Images: map[cluster.VolumeContent]storage.Image{
				cluster.ContentDisk:  {Path: rawImage(t), Format: cluster.FormatRaw},
				cluster.ContentFiles: {Path: tarImage(t, &tar.Header{Name: "note", Mode: 0o644}), Format: cluster.FormatTar},
			},
		}
	})
}

// write leaves a note: in a disk the length of a run of the byte 7 at its beginning is that of the note, whose text is beside it.
func write(t *testing.T, place storage.Place, text string) {
	t.Helper()
	if place.Directory != "" {
		if err := os.WriteFile(filepath.Join(place.Directory, "note"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	pattern := t.TempDir() + "/pattern"
	if err := os.WriteFile(pattern, append([]byte(text), make([]byte, 512-len(text))...), 0o600); err != nil {
		t.Fatal(err)
	}
	tool(t, "qemu-io", "-f", "qcow2", "-c", "write -s "+pattern+" 0 512", place.File.Path)
}

func read(t *testing.T, place storage.Place) string {
	t.Helper()
	if place.Directory != "" {
		data, err := os.ReadFile(filepath.Join(place.Directory, "note"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		return string(data)
	}
	raw := filepath.Join(t.TempDir(), "raw")
	tool(t, "qemu-img", "convert", "-f", "qcow2", "-O", "raw", place.File.Path, raw)
	data, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	return string(bytes.TrimRight(data[:512], "\x00"))
}

func size(t *testing.T, place storage.Place) int64 {
	t.Helper()
	var info struct {
		Size int64 `json:"virtual-size"`
	}
	if err := json.Unmarshal(tool(t, "qemu-img", "info", "--output=json", place.File.Path), &info); err != nil {
		t.Fatal(err)
	}
	return info.Size >> 20
}

func tool(t *testing.T, program string, args ...string) []byte {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", program, strings.Join(args, " "), err, out)
	}
	return out
}

func rawImage(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "image.raw")
	if err := os.WriteFile(name, append([]byte(note), make([]byte, 1<<20-len(note))...), 0o444); err != nil {
		t.Fatal(err)
	}
	return name
}

// tarImage is an archive; its files hold the note.
func tarImage(t *testing.T, headers ...*tar.Header) string {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, header := range headers {
		if header.Typeflag == tar.TypeReg || header.Typeflag == 0 {
			header.Size = int64(len(note))
		}
		if err := w.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if header.Size > 0 {
			io.WriteString(w, note)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(name, out.Bytes(), 0o444); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestArchivesCannotLeaveTheVolume(t *testing.T) {
	require.Root(t)
	outside := t.TempDir()
	for name, headers := range map[string][]*tar.Header{
		"up":           {{Name: "../../escaped", Mode: 0o644}},
		"absolute":     {{Name: outside + "/escaped", Mode: 0o644}},
		"through link": {{Name: "link", Typeflag: tar.TypeSymlink, Linkname: outside}, {Name: "link/escaped", Mode: 0o644}},
		"hard link":    {{Name: "link", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"}},
		"up by a link": {{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "../.."}, {Name: "link/escaped", Mode: 0o644}},
	} {
		t.Run(name, func(t *testing.T) {
			directory := t.TempDir()
			d, err := Open(filepath.Join(directory, "volumes"))
			if err != nil {
				t.Fatal(err)
			}
			id := uuid.NewString()
			err = d.Create(t.Context(), storage.Volume{ID: id, Content: cluster.ContentFiles}, storage.Origin{
				Image: &storage.Image{Path: tarImage(t, headers...), Format: cluster.FormatTar}})
			t.Logf("%v", err)
			for _, escaped := range []string{filepath.Join(outside, "escaped"), filepath.Join(directory, "escaped"), filepath.Join(directory, "volumes", "escaped")} {
				if _, err := os.Lstat(escaped); err == nil {
					t.Errorf("%s was written", escaped)
				}
			}
		})
	}
}

func TestArchivesKeepOwnersAndModesAndNoDevices(t *testing.T) {
	require.Root(t)
	d, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	id := uuid.NewString()
	image := tarImage(t,
		&tar.Header{Name: "bin/", Typeflag: tar.TypeDir, Mode: 0o750, Uid: 7},
		&tar.Header{Name: "bin/su", Mode: 0o4755, Uid: 33, Gid: 34},
		&tar.Header{Name: "bin/alias", Typeflag: tar.TypeSymlink, Linkname: "su"},
		&tar.Header{Name: "bin/again", Typeflag: tar.TypeLink, Linkname: "bin/su"},
		&tar.Header{Name: "dev/mem", Typeflag: tar.TypeChar, Mode: 0o666, Devmajor: 1, Devminor: 1})
	err = d.Create(t.Context(), storage.Volume{ID: id, Content: cluster.ContentFiles}, storage.Origin{Image: &storage.Image{Path: image, Format: cluster.FormatTar}})
	if err != nil {
		t.Fatal(err)
	}
	place, err := d.Find(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	got := tool(t, "sh", "-c", "cd "+place.Directory+" && stat -c '%n %A %u %g %h' bin bin/su bin/alias && ls -A dev")
	want := "bin drwxr-x--- 7 0 2\nbin/su -rwsr-xr-x 33 34 2\nbin/alias lrwxrwxrwx 0 0 1\n"
	if string(got) != want {
		t.Errorf("unpacked\n%swant\n%s", got, want)
	}
}

func TestWhatACrashLeftIsRemoved(t *testing.T) {
	directory := t.TempDir()
	for _, name := range []string{newPrefix + uuid.NewString(), gonePrefix + uuid.NewString()} {
		if err := os.MkdirAll(filepath.Join(directory, name, "files"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	d, err := Open(directory)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if left, err := os.ReadDir(directory); err != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

// TestDirectoryHasOneUser: whoever comes second touches nothing of what the first is making.
func TestDirectoryHasOneUser(t *testing.T) {
	directory := t.TempDir()
	first, err := Open(directory)
	if err != nil {
		t.Fatal(err)
	}
	making := filepath.Join(directory, newPrefix+uuid.NewString())
	if err := os.Mkdir(making, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(directory); !errors.Is(err, cluster.ErrConflict) {
		t.Errorf("opened twice: %v, want conflict", err)
	}
	if _, err := os.Stat(making); err != nil {
		t.Errorf("the second took away what the first was making: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := Open(directory)
	if err != nil {
		t.Fatal(err)
	}
	second.Close()
	if _, err := os.Stat(making); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what the first left is still there: %v", err)
	}
}
