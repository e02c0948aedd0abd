package workloads_test

import (
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/ciaocloud/ciao/ccloudvm/workload"
	"github.com/ciaocloud/ciao/workloads"
)

// TestDevelopmentVMs loads and renders every workload for ccloudvm, with everything that a template can ask for and with nothing.
func TestDevelopmentVMs(t *testing.T) {
	files, err := fs.Sub(workloads.Files, "ccloudvm")
	if err != nil {
		t.Fatal(err)
	}
	finder := workload.Finder{Embedded: files}
	if len(finder.Names()) < 2 {
		t.Fatalf("only %v is embedded", finder.Names())
	}
	full := workload.Workspace{
		User: "me", UID: 1000, Hostname: "vm", HTTPProxy: "http://u:p@10.0.2.2:3128", HTTPSProxy: "http://10.0.2.2:3128", NoProxy: "localhost",
		GitUserName: "Me Myself", GitEmail: "me@example.com", Checkout: "/home/me/ciao", PackageUpgrade: true,
	}
	for _, name := range finder.Names() {
		for variant, ws := range map[string]workload.Workspace{"full": full, "bare": {User: "me", Hostname: "vm"}} {
			t.Run(path.Join(name, variant), func(t *testing.T) {
				w, err := workload.Load(t.Context(), finder, name, ws)
				if err != nil {
					t.Fatal(err)
				}
				for _, m := range w.Spec.VM.Mounts {
					ws.Mounts = append(ws.Mounts, workload.Mount{Mount: m, Type: "9p", Options: "trans=virtio"})
				}
				ws.Packages = w.Spec.Packages
				config, err := w.CloudConfig(ws, "", "")
				if err != nil {
					t.Fatal(err)
				}
				check(t, name, variant, config)
			})
		}
	}
}

func check(t *testing.T, name, variant string, config []byte) {
	t.Helper()
	var decoded map[string]any
	if err := yaml.Unmarshal(config, &decoded); err != nil {
		t.Fatalf("the rendered cloud-config is not YAML: %v\n%s", err, config)
	}
	text := string(config)
	for _, want := range map[string][]string{
		"full": {`http_proxy=\"http://u:p@10.0.2.2:3128\"`, `"https_proxy": "http://10.0.2.2:3128"`},
	}[variant] {
		if !strings.Contains(text, want) {
			t.Errorf("%s does not carry %s:\n%s", name, want, text)
		}
	}
	if name == "ciao" && variant == "full" {
		for _, want := range []string{`PATH=\"/usr/local/lib/ciao:/usr/local/sbin:`, "checkout /home/me/ciao 9p", "HTTPS_PROXY=http://10.0.2.2:3128", `"Me Myself"`} {
			if !strings.Contains(text, want) {
				t.Errorf("ciao does not say %s:\n%s", want, text)
			}
		}
	}
}

// Every package of scripts/deps that a cluster needs is in the development VM, too.
func TestDevelopmentVMHasWhatTheClusterNeeds(t *testing.T) {
	script, err := os.ReadFile("../scripts/deps")
	if err != nil {
		t.Fatal(err)
	}
	recipe, err := os.ReadFile("ccloudvm/ciao.yaml")
	if err != nil {
		t.Fatal(err)
	}
	// Others are for tests and builds on the host, or every Debian has them, or serve virtual machines and their disks in Ceph, which are not
	// in this one yet.
	elsewhere := []string{"ceph-mon", "ceph-osd", "ceph-common", "e2fsprogs", "gcc", "openssh-client", "procps", "uidmap", "xorriso", "mmdebstrap", "qemu-system-x86", "qemu-utils"}
	for _, need := range regexp.MustCompile(`(?m)^[a-z0-9_-]+:([a-z0-9-]+):[a-z0-9-]+:[a-z0-9-]+$`).FindAllStringSubmatch(string(script), -1) {
		if !slices.Contains(elsewhere, need[1]) && !strings.Contains(string(recipe), "\n- "+need[1]+"\n") {
			t.Errorf("the development VM lacks the package %s", need[1])
		}
	}
}
