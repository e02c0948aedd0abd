package seed_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ciaocloud/ciao/ccloudvm/seed"
	"github.com/ciaocloud/ciao/require"
	"github.com/google/go-cmp/cmp"
)

func TestSeedIsReadBackByAnotherProgram(t *testing.T) {
	require.Command(t, "xorriso")
	dir := t.TempDir()
	iso := filepath.Join(dir, "seed.iso")
	user := "#cloud-config\nhostname: first\n"
	network := seed.DHCP("eth0", "52:54:00:12:34:56")
	if err := seed.Write(iso, seed.Seed{InstanceID: "i-1", Hostname: "first", UserData: []byte(user), NetworkConfig: network}); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(iso); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode = %v, %v; want 0600", info.Mode(), err)
	}
	out, err := exec.Command("xorriso", "-indev", iso, "-osirrox", "on", "-extract", "/", filepath.Join(dir, "out"), "-pvd_info").CombinedOutput()
	if err != nil {
		t.Fatalf("xorriso: %v\n%s", err, out)
	}
	if !bytes.Contains(out, []byte("Volume Id    : cidata")) {
		t.Errorf("label is not cidata:\n%s", out)
	}
	got := map[string]string{}
	entries, err := os.ReadDir(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, "out", e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		got[e.Name()] = string(b)
	}
	want := map[string]string{
		"user-data":      user,
		"meta-data":      "instance-id: i-1\nlocal-hostname: first\n",
		"network-config": "version: 2\nethernets:\n  eth0:\n    match: {macaddress: \"52:54:00:12:34:56\"}\n    set-name: eth0\n    dhcp4: true\n",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
}

func TestWriteRefusesAndLeavesNothing(t *testing.T) {
	for _, c := range []struct {
		name string
		seed seed.Seed
		want string
	}{
		{"no id", seed.Seed{}, "no instance id"},
		{"broken", seed.Seed{InstanceID: "i", UserData: []byte("#cloud-config\nruncmd: no\n")}, "line 2"},
		{"huge", seed.Seed{InstanceID: "i", UserData: make([]byte, 2<<20)}, "at most"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			err := seed.Write(filepath.Join(dir, "seed.iso"), c.seed)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Write = %v, want %q", err, c.want)
			}
			if left, _ := os.ReadDir(dir); len(left) != 0 {
				t.Errorf("left %v", left)
			}
		})
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []struct{ name, config, want string }{
		{"good", "#cloud-config\nruncmd:\n- echo hello\n- [echo, hello, 1]\npackages: [a, b]\nwrite_files:\n- path: /x\n", ""},
		{"empty", "#cloud-config\n", ""},
		{"unknown key", "#cloud-config\nsomething_new: 1\n", ""},
		{"null", "#cloud-config\nruncmd:\n", ""},
		{"anchors", "#cloud-config\nx: &a [ls]\nruncmd: *a\n", ""},
		{"not YAML", "#cloud-config\nruncmd: [\n", "line 2"},
		{"tab", "#cloud-config\nruncmd:\n\t- ls\n", "line 3"},
		{"a list", "#cloud-config\n- a\n", "line 2, column 1: must be a mapping"},
		{"text", "#cloud-config\nhello\n", "must be a mapping"},
		{"runcmd is text", "#cloud-config\nruncmd: ls\n", "line 2, column 9: runcmd must be a list"},
		{"colon in a command", "#cloud-config\nruncmd:\n- echo a\n- echo done: yes\n", "line 4"},
		{"list in a command", "#cloud-config\nruncmd:\n- [a, [b]]\n", "runcmd[0][1] must be text"},
		{"hostname is a list", "#cloud-config\nhostname: [a]\n", "hostname must be text"},
		{"upgrade is text", "#cloud-config\npackage_upgrade: maybe\n", "package_upgrade must be true or false"},
		{"file without path", "#cloud-config\nwrite_files:\n- content: x\n", "write_files[0] has no path"},
		{"twice", "#cloud-config\nruncmd: []\nruncmd: []\n", "line 3"},
		{"two documents", "#cloud-config\na: 1\n---\nb: 2\n", "a second document"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := seed.Validate([]byte(c.config))
			switch {
			case c.want == "" && err != nil:
				t.Errorf("Validate = %v, want nil", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("Validate = %v, want %q", err, c.want)
			}
		})
	}
}

func FuzzValidate(f *testing.F) {
	f.Add([]byte("#cloud-config\nruncmd:\n- ls\n"))
	f.Add([]byte("write_files: [{path: x}]"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := seed.Validate(b); err != nil && err.Error() == "" {
			t.Error("an error without words")
		}
	})
}
