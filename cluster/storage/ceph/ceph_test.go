package ceph

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/storage"
	"github.com/ciaocloud/ciao/cluster/storage/ceph/cephtest"
	"github.com/ciaocloud/ciao/cluster/storage/storagetest"
)

const note = "from an image"

// TestCeph runs everything on one cluster, which takes seconds to make. Each part has a namespace of its own.
func TestCeph(t *testing.T) {
	c := cephtest.Start(t)
	disks := []cluster.VolumeContent{cluster.ContentDisk}
	t.Run("Conformance", func(t *testing.T) {
		storagetest.Run(t, disks, func(t *testing.T) storagetest.Harness {
			config := namespace(t, c)
			image := filepath.Join(t.TempDir(), "image,1.raw") // a comma separates options of QEMU
			writeFile(t, image, append([]byte(note), make([]byte, 1<<20-len(note))...))
			return storagetest.Harness{
				Driver: open(t, config), Reopen: func(t *testing.T) storage.Driver { return open(t, config) },
				Write: writeNote, Read: readNote, Size: func(t *testing.T, place storage.Place) int64 { return size(t, c, place) }, Note: note,
				Images: map[cluster.VolumeContent]storage.Image{
					cluster.ContentDisk:  {Path: image, Format: cluster.FormatRaw},
					cluster.ContentFiles: {Path: image, Format: cluster.FormatTar},
				},
			}
		})
	})
	for name, test := range map[string]func(*testing.T, cephtest.Cluster){
		"Fence": testFence, "DeleteCutsOff": testDeleteCutsOff, "Half": testHalf, "Late": testLate, "LargerImage": testLargerImage, "Refused": testRefused,
	} {
		t.Run(name, func(t *testing.T) { test(t, c) })
	}
	t.Run("Full", func(t *testing.T) { testFull(t, c) }) // for all of them
}

func config(c cephtest.Cluster) Config {
	return Config{Configuration: c.Configuration, User: cephtest.User, Keyring: c.Keyring, Pool: cephtest.Pool}
}

// namespace makes a place of its own in the pool.
func namespace(t *testing.T, c cephtest.Cluster) Config {
	t.Helper()
	own := config(c)
	own.Namespace = uuid.NewString()
	c.RBD(t, "namespace", "create", cephtest.Pool+"/"+own.Namespace)
	return own
}

func open(t *testing.T, c Config) *Driver {
	t.Helper()
	d, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// made makes a volume that is deleted with the test.
func made(t *testing.T, d *Driver) (string, storage.Place) {
	t.Helper()
	id := uuid.NewString()
	if err := d.Create(t.Context(), storage.Volume{ID: id, Content: cluster.ContentDisk, SizeMiB: 16}, storage.Origin{}); err != nil {
		t.Fatal(err)
	}
	place, err := d.Find(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return id, place
}

func writeFile(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// client is a program of QEMU that has an image open.
func client(t *testing.T, place storage.Place, args ...string) *exec.Cmd {
	t.Helper()
	key, err := place.RBD.Key.File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { key.Close() })
	d := &Driver{config: Config{Configuration: place.RBD.Configuration, User: place.RBD.User, Pool: place.RBD.Pool, Namespace: place.RBD.Namespace}}
	all := append([]string{"--object", "secret,id=key,format=base64,file=/proc/self/fd/3", "--image-opts"}, args...)
	command := exec.CommandContext(t.Context(), "qemu-io", append(all, d.options(place.RBD.Image).String())...)
	command.ExtraFiles = []*os.File{key}
	return command
}

// sector is a note that fills a sector.
func sector(t *testing.T, text string) string {
	t.Helper()
	pattern := filepath.Join(t.TempDir(), "pattern")
	writeFile(t, pattern, append([]byte(text), make([]byte, 512-len(text))...))
	return pattern
}

func writeNote(t *testing.T, place storage.Place, text string) {
	t.Helper()
	if out, err := client(t, place, "-c", "write -s "+sector(t, text)+" 0 512").CombinedOutput(); err != nil || bytes.Contains(out, []byte("failed")) {
		t.Fatalf("write to %s: %v: %s", place.RBD.Image, err, out)
	}
}

func readNote(t *testing.T, place storage.Place) string {
	t.Helper()
	out, err := client(t, place, "-r", "-c", "read -v 0 512").CombinedOutput()
	if err != nil || bytes.Contains(out, []byte("failed")) {
		t.Fatalf("read %s: %v: %s", place.RBD.Image, err, out)
	}
	var text strings.Builder
	for line := range strings.Lines(string(out)) { // 00000000:  68 65 6c … hello
		if offset, rest, is := strings.Cut(line, ":  "); is && len(offset) == 8 && len(rest) > 48 {
			text.WriteString(decode(t, rest[:48]))
		}
	}
	return strings.TrimRight(text.String(), "\x00")
}

func decode(t *testing.T, words string) string {
	t.Helper()
	var data []byte
	for _, word := range strings.Fields(words) {
		one, err := hex.DecodeString(word)
		if err != nil {
			t.Fatal(err)
		}
		data = append(data, one...)
	}
	return string(data)
}

func size(t *testing.T, c cephtest.Cluster, place storage.Place) int64 {
	t.Helper()
	var info struct {
		Size int64 `json:"size"`
	}
	said := c.RBD(t, "info", "--format", "json", place.RBD.Pool+"/"+place.RBD.Namespace+"/"+place.RBD.Image)
	if err := json.Unmarshal([]byte(said), &info); err != nil {
		t.Fatal(err)
	}
	return info.Size >> 20
}

// testFence: whoever takes a volume over is the only one who writes to it, and with an older token nobody takes it back.
func testFence(t *testing.T, c cephtest.Cluster) {
	d := open(t, config(c))
	id, place := made(t, d)
	if err := d.Fence(t.Context(), id, 1); err != nil {
		t.Fatal(err)
	}
	former := begin(t, place)
	former.write(t, "one", true)
	if err := d.Fence(t.Context(), id, 2); err != nil {
		t.Fatal(err)
	}
	former.write(t, "two", false)
	writeNote(t, place, "three")
	if err := d.Fence(t.Context(), id, 1); !errors.Is(err, cluster.ErrConflict) {
		t.Errorf("taken over with an older token: %v, want conflict", err)
	}
	present := begin(t, place)
	present.write(t, "four", true)
	if err := d.Fence(t.Context(), id, 1); !errors.Is(err, cluster.ErrConflict) {
		t.Errorf("taken over with an older token: %v, want conflict", err)
	}
	present.write(t, "five", true)
	if note := readNote(t, place); note != "five" {
		t.Errorf("it says %q, want five", note)
	}
	if err := d.Fence(t.Context(), uuid.NewString(), 1); !errors.Is(err, cluster.ErrNotFound) {
		t.Errorf("fence of nothing: %v, want not found", err)
	}
}

// testDeleteCutsOff: a volume goes although somebody who should not has it open.
func testDeleteCutsOff(t *testing.T, c cephtest.Cluster) {
	d := open(t, config(c))
	id, place := made(t, d)
	former := begin(t, place)
	former.write(t, "one", true)
	if err := d.Delete(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Find(t.Context(), id); !errors.Is(err, cluster.ErrNotFound) {
		t.Errorf("deleted: %v, want not found", err)
	}
	former.write(t, "two", false)
}

// testHalf: what a killed process left is not there, is made anew, and can be deleted.
func testHalf(t *testing.T, c cephtest.Cluster) {
	d := open(t, namespace(t, c))
	id := uuid.NewString()
	begin := func() { c.RBD(t, "create", "--size", "1M", d.spec(id)) }
	begin()
	if _, err := d.Find(t.Context(), id); !errors.Is(err, cluster.ErrNotFound) {
		t.Errorf("half of a volume: %v, want not found", err)
	}
	if ids, err := d.List(t.Context()); err != nil || len(ids) != 0 {
		t.Errorf("listed %v, %v", ids, err)
	}
	volume := storage.Volume{ID: id, Content: cluster.ContentDisk, SizeMiB: 16}
	if err := d.Create(t.Context(), volume, storage.Origin{}); err != nil {
		t.Fatal(err)
	}
	if got := size(t, c, d.place(id)); got != 16 {
		t.Errorf("it has %d MiB, want 16", got)
	}
	if err := d.Delete(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	begin()
	if err := d.Delete(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if left := c.RBD(t, "ls", d.pool()); left != "" {
		t.Errorf("left: %s", left)
	}
}

// testLate: a node that finishes what another has made anew meanwhile neither makes that count nor takes it away.
func testLate(t *testing.T, c cephtest.Cluster) {
	d := open(t, namespace(t, c))
	id := uuid.NewString()
	create := func() image {
		c.RBD(t, "create", "--size", "1M", d.spec(id))
		found, err := d.look(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	late := create()
	c.RBD(t, "rm", d.spec(id))
	create()
	if err := d.mark(t.Context(), late); err != nil {
		t.Fatal(err)
	}
	if err := d.clean(t.Context(), late); err != nil {
		t.Fatal(err)
	}
	if found, err := d.look(t.Context(), id); err != nil || found.whole() {
		t.Errorf("%+v, %v", found, err)
	}
}

func testLargerImage(t *testing.T, c cephtest.Cluster) {
	d := open(t, namespace(t, c))
	image := filepath.Join(t.TempDir(), "image.qcow2")
	if out, err := exec.CommandContext(t.Context(), "qemu-img", "create", "-f", "qcow2", image, "17M").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	err := d.Create(t.Context(), storage.Volume{ID: uuid.NewString(), Content: cluster.ContentDisk, SizeMiB: 16},
		storage.Origin{Image: &storage.Image{Path: image, Format: cluster.FormatQcow2}})
	if !errors.Is(err, cluster.ErrInvalid) {
		t.Errorf("17 MiB in 16: %v, want invalid", err)
	}
	if left := c.RBD(t, "ls", d.pool()); left != "" {
		t.Errorf("left: %s", left)
	}
}

// testRefused: whatever is wrong with the settings, one sentence says so.
func testRefused(t *testing.T, c cephtest.Cluster) {
	keyring := filepath.Join(t.TempDir(), "keyring")
	writeFile(t, keyring, []byte("[client.ciao]\n\tkey = AQAAAAAAAAAAABAAAAAAAAAAAAAAAAAAAAAAAA==\n"))
	for name, test := range map[string]struct {
		change func(*Config)
		want   error
	}{
		"pool":      {func(own *Config) { own.Pool = "none" }, cluster.ErrInvalid},
		"wrong key": {func(own *Config) { own.Keyring = keyring }, cluster.ErrPermission},
	} {
		own := config(c)
		test.change(&own)
		_, err := open(t, own).List(t.Context())
		if !errors.Is(err, test.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %v in one line", name, err, test.want)
		}
		t.Log(err)
	}
}

// testFull: a full Ceph is said at once, and what is there can be deleted. (In a namespace it cannot: there even a look at an image is a
// write for `rbd`.)
func testFull(t *testing.T, c cephtest.Cluster) {
	d := open(t, config(c))
	id, _ := made(t, d)
	for _, ratio := range []string{"nearfull", "backfillfull", "full"} {
		c.Ceph(t, "osd", "set-"+ratio+"-ratio", "0.000001")
	}
	for deadline := time.Now().Add(time.Minute); d.room(t.Context()) == nil; time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("Ceph does not become full")
		}
	}
	err := d.Create(t.Context(), storage.Volume{ID: uuid.NewString(), Content: cluster.ContentDisk, SizeMiB: 16}, storage.Origin{})
	if !errors.Is(err, cluster.ErrNoCapacity) {
		t.Errorf("made in a full Ceph: %v, want no capacity", err)
	}
	if err := d.Delete(t.Context(), id); err != nil {
		t.Error(err)
	}
}

func TestSettings(t *testing.T) {
	keyring := filepath.Join(t.TempDir(), "keyring")
	writeFile(t, keyring, []byte("[client.admin]\nkey = bm90\n[client.ciao]\n\tcaps mon = \"profile rbd\"\n\tkey = dGhpcw==\n[client.no]\n"))
	good := Config{Configuration: "/etc/ceph/ceph.conf", User: "ciao", Keyring: keyring, Pool: "volumes"}
	d, err := Open(good)
	if err != nil || d.key != "dGhpcw==" {
		t.Fatalf("opened %+v, %v", d, err)
	}
	for name, change := range map[string]func(*Config){
		"configuration": func(c *Config) { c.Configuration = "ceph.conf" },
		"user":          func(c *Config) { c.User = "no" },
		"no keyring":    func(c *Config) { c.Keyring += "2" },
		"pool":          func(c *Config) { c.Pool = "a,file.driver=file" },
		"no pool":       func(c *Config) { c.Pool = "" },
		"namespace":     func(c *Config) { c.Namespace = "a/b" },
		"option":        func(c *Config) { c.Pool = "--conf" },
	} {
		bad := good
		change(&bad)
		if _, err := Open(bad); !errors.Is(err, cluster.ErrInvalid) {
			t.Errorf("%s: %v, want invalid", name, err)
		}
	}
}
