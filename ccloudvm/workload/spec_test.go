package workload

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ciaocloud/ciao/ccloudvm"
)

func TestParseSpec(t *testing.T) {
	const file = `# a comment before the document
---
base_image_url: https://example.com/image.qcow2
base_image_name: 'Example 1'
base_image_digest: "sha256:0123456789012345678901234567890123456789012345678901234567890123"
workload: Example
inherits: parent
needs_nested_vm: yes
bios: /usr/share/firmware
packages: [make, g++]
images: [tiny]
vm:
  mem_mib: 4_000
  cpus: 2
  disk_gib: 20
  qemuport: 9999
  host_ip: 127.4.5.6
{{with .GoPath}}
  mounts:
  - tag: hostgo
    security_model: passthrough
    path: {{.}}
    read_only: true
{{end}}
  ports:
  - {host: 8080, guest: 80}
  drives:
  - path: /dev/sdb
    format: raw
    options: cache=none
...
---
#cloud-config
`
	l, err := parseLevel(Source{Origin: "w.yaml", Text: []byte(file)}, &Workspace{GoPath: "/home/me/go"})
	if err != nil {
		t.Fatal(err)
	}
	want := ccloudvm.Spec{
		BaseImageURL:    "https://example.com/image.qcow2",
		BaseImageName:   "Example 1",
		BaseImageDigest: "sha256:0123456789012345678901234567890123456789012345678901234567890123",
		Workload:        "Example",
		Inherits:        "parent",
		NeedsNestedVM:   true,
		BIOS:            "/usr/share/firmware",
		Packages:        []string{"make", "g++"},
		Images:          []string{"tiny"},
		VM: ccloudvm.VM{
			MemMiB: 4000, CPUs: 2, DiskGiB: 20, QEMUPort: 9999, HostIP: "127.4.5.6",
			Mounts: []ccloudvm.Mount{{Tag: "hostgo", SecurityModel: "passthrough", Path: "/home/me/go", ReadOnly: true}},
			Ports:  []ccloudvm.Port{{Host: 8080, Guest: 80}},
			Drives: []ccloudvm.Drive{{Path: "/dev/sdb", Format: "raw", Options: "cache=none"}},
		},
	}
	if diff := cmp.Diff(want, l.spec); diff != "" {
		t.Errorf("spec (-want +got):\n%s", diff)
	}
	if got := l.origins["vm.ports[0].guest"].String(); got != "w.yaml:26:18" {
		t.Errorf("vm.ports[0].guest was written at %s, want w.yaml:26:18: lines must survive the template", got)
	}
}

func TestSpecProblems(t *testing.T) {
	tests := []struct {
		name, file string
		want       []string // one line each, in order
	}{
		{"unknown keys, all at once", "---\nhostname: x\nvm:\n  memory: 4\n  mem_mb: 4\n", []string{
			"w:2:1: hostname: this key is not known here",
			"w:4:3: vm.memory: this key is not known here",
			"w:5:3: vm.mem_mb: this key is not known here: did you mean mem_mib?",
		}},
		{"wrong types", "vm:\n  mem_mib: lots\n  cpus: 1.5\n  ports: 80\n  mounts:\n  - /home\n  host_ip: 127\n", []string{
			"w:2:12: vm.mem_mib: must be a whole number, and here is text",
			"w:3:9: vm.cpus: must be a whole number, and here is a number with a fraction",
			"w:4:10: vm.ports: must be a list, and here is a number",
			"w:6:5: vm.mounts[0]: must be a map of path, read_only, security_model, tag, and here is text",
			"w:7:12: vm.host_ip: must be text",
		}},
		{"out of any range", "vm: {mem_mib: 99999999999999999999}\n", []string{"w:1:15: vm.mem_mib: must be a whole number"}},
		{"a list", "- a\n- b\n", []string{"w:1:1: must be a map of base_image"}},
		{"broken YAML", "base_image: debian-12\nvm: [\n", []string{"w:2:5: not YAML: "}},
		{"a key twice", "vm:\n  cpus: 1\n  cpus: 2\n", []string{"w:3:3: "}},
		{"bad template", "a: b\nvm:\n  cpus: {{.Nothing}}\n", []string{"w:3"}},
		{"unclosed template", "a: b\n\n{{if .GoPath}}\n", []string{"w:4: template: "}},
		{"functions are for the cloud-config", "workload: {{message . \"x\"}}\n", []string{"w:1: template: function \"message\" not defined"}},
		{"three documents", "---\n---\n---\nx: y\n", []string{"w:4:1: a third YAML document"}},
		{"an image that is not known", "images: [tiny, huge]\n", []string{`w:1:16: images[1]: must be tiny, and is "huge"`}},
		{"lists of one file", "vm:\n  ports:\n  - {host: 1, guest: 80}\n  - {host: 0, guest: 80}\n  mounts:\n  - {tag: a b, path: rel}\n", []string{
			"w:4:6: vm.ports[1].host: must be a port from 1 to 65535, and is 0",
			"w:6:6: vm.mounts[0].tag: must be 1 to 31 letters",
			"w:6:16: vm.mounts[0].path: must be an absolute path",
			"w:4:6: vm.ports[1]: guest port 80 is listed twice",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parseLevel(Source{Origin: "w", Text: []byte(tt.file)}, &Workspace{})
			wantProblems(t, err, tt.want)
		})
	}
}

// wantProblems checks that the error has one problem for each wanted beginning, in order.
func wantProblems(t *testing.T, err error, want []string) {
	t.Helper()
	if !errors.Is(err, ccloudvm.ErrInvalid) {
		t.Fatalf("error %v is not of class ErrInvalid", err)
	}
	got := strings.Split(err.Error(), "\n")
	if len(got) != len(want) {
		t.Fatalf("%d problems, want %d:\n%s", len(got), len(want), err)
	}
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("problem %d:\n got %s\nwant %s…", i, got[i], want[i])
		}
	}
}

func TestCheck(t *testing.T) {
	good := complete(ccloudvm.Spec{})
	if err := Check(good, nil); err != nil {
		t.Fatalf("the defaults are refused: %v", err)
	}
	bad := good
	bad.BaseImageURL, bad.BIOS = "ftp://x/y", "gopher://x"
	bad.BaseImageDigest = "md5:1"
	bad.Packages = []string{"--option"}
	bad.VM.MemMiB, bad.VM.CPUs, bad.VM.DiskGiB = 64, 1000, -1
	bad.VM.HostIP, bad.VM.QEMUPort = "0.0.0.0", 70000
	bad.VM.Mounts = []ccloudvm.Mount{{Tag: "a", Path: "/x y"}, {Tag: "b", Path: "/x/../y"}, {Tag: "c", Path: "/z", SecurityModel: "all"}}
	bad.VM.Drives = []ccloudvm.Drive{{Path: "disk", Format: "raw,readonly"}}
	bad.VM.Ports = append(bad.VM.Ports, ccloudvm.Port{Host: ccloudvm.DefaultSSHHostPort, Guest: 23})
	origins := map[string]Position{"vm.cpus": {File: "--cpus"}}
	wantProblems(t, Check(bad, origins), []string{
		"base_image_url: must be an http, https or file URL",
		"bios: must be",
		"base_image_digest: must be",
		`packages[0]: "--option" is not`,
		"vm.mem_mib: must be from 128 to",
		"--cpus: vm.cpus: must be from 1 to 255 CPUs, and is 1000",
		"vm.disk_gib: must be",
		"vm.qemuport: must be a port",
		"vm.host_ip: must be an IPv4 address",
		"vm.ports[1].host: port 10022 of the host is forwarded twice",
		"vm.mounts[0].path: ",
		"vm.mounts[1].path: must be a plain path",
		"vm.mounts[2].security_model: must be one of",
		"vm.drives[0].path: must be the absolute path",
		"vm.drives[0].format: must be a disk format",
	})
}
