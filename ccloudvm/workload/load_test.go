package workload

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/ciaocloud/ciao/ccloudvm"
)

func embedded(files map[string]string) Finder {
	fsys := fstest.MapFS{}
	for name, text := range files {
		fsys[name+".yaml"] = &fstest.MapFile{Data: []byte(text)}
	}
	return Finder{Embedded: fsys}
}

func TestInheritance(t *testing.T) {
	finder := embedded(map[string]string{
		"root": "base_image: debian-12\nbase_image_digest: sha256:" + strings.Repeat("a", 64) + "\nneeds_nested_vm: true\npackages: [a, b]\nimages: [tiny]\n" +
			"vm:\n  mem_mib: 2048\n  cpus: 1\n  disk_gib: 10\n  ports: [{host: 10022, guest: 22}, {host: 8080, guest: 80}]\n" +
			"  mounts: [{tag: src, path: /src}]\n  drives: [{path: /d, format: raw}]\n",
		"middle": "inherits: root\nneeds_nested_vm: false\npackages: [b, c]\nvm:\n  cpus: 3\n",
		"leaf": "inherits: middle\nworkload: Leaf\nvm:\n  mem_mib: 512\n  ports: [{host: 2222, guest: 22}, {host: 1, guest: 2}]\n" +
			"  mounts: [{tag: src, path: /other, security_model: none}]\n  drives: [{path: /d, format: qcow2}, {path: /e, format: raw}]\n",
		"own-image": "inherits: root\nbase_image_url: file:///my.img\n",
	})
	w, err := Load(t.Context(), finder, "leaf", Workspace{})
	if err != nil {
		t.Fatal(err)
	}
	want := ccloudvm.Spec{
		BaseImage: "debian-12", BaseImageDigest: "sha256:" + strings.Repeat("a", 64), BaseImageName: "debian-12",
		Workload: "Leaf", Inherits: "middle",
		NeedsNestedVM: true, // once asked for, always there
		Packages:      []string{"a", "b", "c"},
		Images:        []string{"tiny"},
		VM: ccloudvm.VM{
			MemMiB: 512, CPUs: 3, DiskGiB: 10, // what the child says wins
			Ports:  []ccloudvm.Port{{Host: 2222, Guest: 22}, {Host: 8080, Guest: 80}, {Host: 1, Guest: 2}},
			Mounts: []ccloudvm.Mount{{Tag: "src", Path: "/other", SecurityModel: "none"}},
			Drives: []ccloudvm.Drive{{Path: "/d", Format: "qcow2"}, {Path: "/e", Format: "raw"}},
		},
	}
	if diff := cmp.Diff(want, w.Spec); diff != "" {
		t.Errorf("spec (-want +got):\n%s", diff)
	}
	if got := w.Origins["vm.cpus"].String(); got != "embedded:middle:5:3" {
		t.Errorf("vm.cpus comes from %s, want embedded:middle:5:3", got)
	}

	own, err := Load(t.Context(), finder, "own-image", Workspace{})
	if err != nil {
		t.Fatal(err)
	}
	if own.Spec.BaseImage != "" || own.Spec.BaseImageDigest != "" {
		t.Errorf("a child with an image of its own kept the parent's: %+v", own.Spec)
	}
}

func TestLoadRefuses(t *testing.T) {
	finder := embedded(map[string]string{
		"debian-12": "base_image: debian-12\n", "ciao": "inherits: debian-12\n",
		"loop": "inherits: pool\n", "pool": "inherits: loop\n", "orphan": "workload: x\ninherits: debian-13\n",
		"huge": "vm: {mem_mib: 999999999}\n",
	})
	tests := []struct {
		name, ref string
		class     error
		want      string
	}{
		{"unknown, near", "debain-12", ccloudvm.ErrNotFound, "did you mean debian-12?"},
		{"unknown, far", "windows-11", ccloudvm.ErrNotFound, "there are ciao, debian-12, huge"},
		{"nothing", "", ccloudvm.ErrInvalid, "name a workload"},
		{"no file", "./nothing.yaml", ccloudvm.ErrNotFound, "there is no workload file ./nothing.yaml"},
		{"parent not found", "orphan", ccloudvm.ErrNotFound, `embedded:orphan:2:1: inherits: there is no workload "debian-13": did you mean debian-12?`},
		{"loop", "loop", ccloudvm.ErrInvalid, "embedded:pool:1:1: inherits: embedded:loop is an ancestor of itself"},
		{"impossible", "huge", ccloudvm.ErrInvalid, "embedded:huge:1:6: vm.mem_mib: must be from 128 to"},
		{"scheme", "ftp://example.com/x.yaml", ccloudvm.ErrInvalid, "not by ftp"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Load(t.Context(), finder, tt.ref, Workspace{})
			if !errors.Is(err, tt.class) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want class %v and %q", err, tt.class, tt.want)
			}
		})
	}
}

func TestFind(t *testing.T) {
	write := func(dir, name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	home := t.TempDir()
	dirs := Directories(func(name string) string {
		return map[string]string{"XDG_DATA_HOME": home + "/data", "XDG_CONFIG_HOME": "relative"}[name]
	}, home)
	write(dirs[0], "first.yaml", "workload: config\n")
	write(dirs[1], "first.yaml", "workload: data\n")
	write(dirs[1], "second.yml", "workload: data\n")
	write(dirs[2], "debian-12.yaml", "workload: mine\n")
	path := write(filepath.Join(home, "work"), "child.yaml", "inherits: ./parent.yaml\n")
	write(filepath.Join(home, "work"), "parent.yaml", "workload: beside\n")
	server := httptest.NewServer(http.FileServer(http.Dir(filepath.Join(home, "work"))))
	defer server.Close()

	finder := embedded(map[string]string{"debian-12": "workload: ours\n", "only": "workload: embedded\n"})
	finder.Dirs = dirs
	tests := []struct{ name, ref, want string }{
		{"configuration before data", "first", "config"},
		{"data, .yml", "second", "data"},
		{"the user's before the embedded", "debian-12", "mine"},
		{"embedded", "only", "embedded"},
		{"path, parent beside it", path, "beside"},
		{"file URL", "file://" + path, "beside"},
		{"http URL, parent beside it", server.URL + "/child.yaml", "beside"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w, err := Load(t.Context(), finder, tt.ref, Workspace{})
			if err != nil {
				t.Fatal(err)
			}
			if w.Spec.Workload != tt.want {
				t.Errorf("found %q, want %q", w.Spec.Workload, tt.want)
			}
		})
	}
	if diff := cmp.Diff([]string{"debian-12", "first", "only", "second"}, finder.Names()); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	if _, err := finder.Find(t.Context(), server.URL+"/absent.yaml", ""); !errors.Is(err, ccloudvm.ErrNotFound) {
		t.Errorf("a URL that is not there: %v", err)
	}
}
