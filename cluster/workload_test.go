package cluster

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestValidateNamesEveryField(t *testing.T) {
	tests := []struct {
		name   string
		change func(*WorkloadSpec)
		paths  []string
	}{
		{"good", func(*WorkloadSpec) {}, nil},
		{"no kind", func(s *WorkloadSpec) { s.Kind = "" }, []string{"kind"}},
		{"unknown kind", func(s *WorkloadSpec) { s.Kind = "boat" }, []string{"kind"}},
		{"the cluster's own kind", func(s *WorkloadSpec) { s.Kind = KindCNCI }, []string{"kind"}},
		{"no image", func(s *WorkloadSpec) { s.Image = "" }, []string{"image"}},
		{"image with an option", func(s *WorkloadSpec) { s.Image = "-v" }, []string{"image"}},
		{"image that climbs", func(s *WorkloadSpec) { s.Image = "a/../b" }, []string{"image"}},
		{"pull", func(s *WorkloadSpec) { s.Pull = "always" }, []string{"pull"}},
		{"zero byte in an argument", func(s *WorkloadSpec) { s.Command = []string{"a\x00b"} }, []string{"command"}},
		{"too many arguments", func(s *WorkloadSpec) { s.Command = make([]string, 257) }, []string{"command"}},
		{"long command", func(s *WorkloadSpec) { s.Command = []string{strings.Repeat("x", 33<<10)} }, []string{"command"}},
		{"environment name", func(s *WorkloadSpec) { s.Environment = map[string]string{"1A": ""} }, []string{"environment.1A"}},
		{"environment value", func(s *WorkloadSpec) { s.Environment = map[string]string{"A": "\x00"} }, []string{"environment.A"}},
		{"large environment", func(s *WorkloadSpec) { s.Environment = map[string]string{"A": strings.Repeat("x", 65<<10)} }, []string{"environment"}},
		{"vCPUs", func(s *WorkloadSpec) { s.Requirements.VCPUs = 9 }, []string{"requirements.vcpus"}},
		{"too many vCPUs", func(s *WorkloadSpec) { s.Requirements.VCPUs = MaxVCPUs*VCPU + 1 }, []string{"requirements.vcpus"}},
		{"memory", func(s *WorkloadSpec) { s.Requirements.MemoryMiB = 5 }, []string{"requirements.memory_mib"}},
		{"pids", func(s *WorkloadSpec) { s.Requirements.Pids = -1 }, []string{"requirements.pids"}},
		{"node", func(s *WorkloadSpec) { s.Requirements.Node = "n1" }, []string{"requirements.node"}},
		{"host name", func(s *WorkloadSpec) { s.Requirements.Hostname = strings.Repeat("x", 254) }, []string{"requirements.hostname"}},
		{"label", func(s *WorkloadSpec) { s.Requirements.Labels = map[string]string{"zone": strings.Repeat("x", 256)} },
			[]string{"requirements.labels.zone"}},
		{"group", func(s *WorkloadSpec) { s.Requirements.Spread = "A b" }, []string{"requirements.spread"}},
		{"group that is together", func(s *WorkloadSpec) { s.Requirements.Together = "A b" }, []string{"requirements.together"}},
		{"together and apart", func(s *WorkloadSpec) { s.Requirements.Together, s.Requirements.Spread = "a", "b" }, []string{"requirements.spread"}},
		{"drain", func(s *WorkloadSpec) { s.Drain = "never" }, []string{"drain"}},
		{"together, starting elsewhere", func(s *WorkloadSpec) { s.Drain, s.Requirements.Together = StartFirst, "a" }, []string{"drain"}},
		{"disk", func(s *WorkloadSpec) { s.Requirements.DiskMiB = -1 }, []string{"requirements.disk_mib"}},
		{"restart", func(s *WorkloadSpec) { s.Restart = "elsewhere" }, []string{"restart"}},
		{"grace", func(s *WorkloadSpec) { s.StopGrace = Duration(time.Hour) }, []string{"stop_grace"}},
		{"user of a container", func(s *WorkloadSpec) { s.User = "nobody" }, []string{"user"}},
		{"directory of a container", func(s *WorkloadSpec) { s.Directory = "/" }, []string{"directory"}},
		{"all at once", func(s *WorkloadSpec) { s.Image, s.Requirements.Pids, s.StopGrace = "", -1, -1 }, []string{"image", "requirements.pids", "stop_grace"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			spec := WorkloadSpec{Kind: KindContainer, Image: "registry.example:5000/team/app:1.0@sha256:00"}.WithDefaults()
			test.change(&spec)
			err := spec.Validate()
			var problems Problems
			errors.As(err, &problems)
			var paths []string
			for _, p := range problems {
				paths = append(paths, p.Path)
			}
			if diff := cmp.Diff(test.paths, paths); diff != "" {
				t.Errorf("(-want +got): %s %v", diff, err)
			}
			if (err != nil) != errors.Is(err, ErrInvalid) {
				t.Errorf("%v is not of class invalid", err)
			}
		})
	}
}

func TestValidateProcess(t *testing.T) {
	tests := []struct {
		name   string
		change func(*WorkloadSpec)
		paths  []string
	}{
		{"good", func(*WorkloadSpec) {}, nil},
		{"image", func(s *WorkloadSpec) { s.Image = "tools" }, nil},
		{"user and group", func(s *WorkloadSpec) { s.User = "1000:1000" }, nil},
		{"privileged", func(s *WorkloadSpec) { s.User, s.Privileged = "root", true }, nil},
		{"no command", func(s *WorkloadSpec) { s.Command = nil }, []string{"command"}},
		{"empty command", func(s *WorkloadSpec) { s.Command = []string{""} }, []string{"command"}},
		{"image with an option", func(s *WorkloadSpec) { s.Image = "-v" }, []string{"image"}},
		{"pull", func(s *WorkloadSpec) { s.Pull = PullNever }, []string{"pull"}},
		{"user with a space", func(s *WorkloadSpec) { s.User = "a b" }, []string{"user"}},
		{"user too long", func(s *WorkloadSpec) { s.User = strings.Repeat("a", 33) }, []string{"user"}},
		{"user by a number with a zero", func(s *WorkloadSpec) { s.User = "01" }, []string{"user"}},
		{"root", func(s *WorkloadSpec) { s.User = "root" }, []string{"user"}},
		{"root by number", func(s *WorkloadSpec) { s.User = "0:5" }, []string{"user"}},
		{"relative directory", func(s *WorkloadSpec) { s.Directory = "srv" }, []string{"directory"}},
		{"directory that climbs", func(s *WorkloadSpec) { s.Directory = "/srv/.." }, []string{"directory"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			spec := WorkloadSpec{Kind: KindProcess, Command: []string{"sleep", "1h"}}.WithDefaults()
			test.change(&spec)
			var paths []string
			if problems, ok := spec.Validate().(Problems); ok {
				for _, problem := range problems {
					paths = append(paths, problem.Path)
				}
			}
			if diff := cmp.Diff(test.paths, paths); diff != "" {
				t.Error("(-want +got):", diff)
			}
		})
	}
}

func TestDefaults(t *testing.T) {
	got := WorkloadSpec{Kind: KindContainer, Image: "a"}.WithDefaults()
	want := WorkloadSpec{
		Kind: KindContainer, Image: "a", Pull: PullMissing, Restart: RestartOnNode, Drain: StopFirst, StopGrace: DefaultStopGrace,
		Requirements: Requirements{VCPUs: VCPU, MemoryMiB: 128, Pids: 512},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("(-want +got):", diff)
	}
	if diff := cmp.Diff(got, got.WithDefaults()); diff != "" {
		t.Error("twice is not once:", diff)
	}
}

func TestNamesAndIDs(t *testing.T) {
	for name, valid := range map[string]bool{
		"a": true, "web-1": true, "0": true, strings.Repeat("a", 63): true,
		"": false, "-a": false, "a-": false, "A": false, "a.b": false, "ä": false, "a\n": false, strings.Repeat("a", 64): false,
	} {
		if ValidName(name) != valid {
			t.Errorf("ValidName(%q) is %t", name, !valid)
		}
	}
	for id, valid := range map[string]bool{
		"00000000-0000-4000-8000-000000000001": true, "00000000-0000-4000-8000-00000000000A": false, "": false, "web": false,
	} {
		if ValidID(id) != valid {
			t.Errorf("ValidID(%q) is %t", id, !valid)
		}
	}
}

func TestLoginUser(t *testing.T) {
	for cloudInit, want := range map[string]string{
		"":                            "",
		"#cloud-config\nuser: ciao\n": "ciao",
		"#cloud-config\nuser: \"me\"\r\nruncmd: []\n":             "me",
		"#cloud-config\nwrite_files:\n- {owner: x}\n  user: no\n": "",
		"#cloud-config\nuser: {name: me}\n":                       "",
	} {
		if got := (WorkloadSpec{CloudInit: cloudInit}).LoginUser(); got != want {
			t.Errorf("%q: %q, want %q", cloudInit, got, want)
		}
	}
}
