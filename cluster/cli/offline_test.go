package cli_test

import (
	"strings"
	"testing"

	"github.com/ciaocloud/ciao/cluster/client"
)

// verbs are the commands with what they act on.
var verbs = map[string]string{
	"create": "instance workload tenant pool external-ip", "list": "instances workloads nodes tenants cncis pools external-ips quotas events", "show": "instance workload node tenant cnci pool external-ip",
	"start": "instance", "stop": "instance", "restart": "instance", "wait": "instance", "update": "quota tenant", "delete": "instance workload tenant events",
	"store": "backup check restore settle", "revoke": "certificate", "ssntp": "tap", "run": "controller scheduler launcher cnci",
}

func TestHelpNeedsNothing(t *testing.T) {
	nobody(t)
	for _, args := range [][]string{nil, {"--help"}, {"help"}} {
		if out := works(t, args...); !strings.Contains(out, "singlevm env") || !strings.Contains(out, client.EnvController) {
			t.Errorf("ciao %v: %q", args, out)
		}
	}
	if out := works(t, "--version"); out != "ciao version 1.2.3\n" {
		t.Errorf("version %q", out)
	}
	for verb, nouns := range verbs {
		if out := works(t, verb); !strings.Contains(out, "Usage:") {
			t.Errorf("ciao %s: %q", verb, out)
		}
		for noun := range strings.FieldsSeq(nouns) {
			for _, args := range [][]string{{verb, noun, "--help"}, {"help", verb, noun}} {
				if out := works(t, args...); !strings.Contains(out, "ciao "+verb+" "+noun) {
					t.Errorf("ciao %v: %q", args, out)
				}
			}
		}
	}
}

func TestCompletionScriptsNeedNothing(t *testing.T) {
	nobody(t)
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if out := works(t, "completion", shell); !strings.Contains(out, "ciao") {
			t.Errorf("%s: %q", shell, out)
		}
	}
	if out := works(t, "__complete", "show", "instance", ""); !strings.HasPrefix(out, ":4\n") {
		t.Errorf("without a cluster: %q", out)
	}
}

func TestCompletionKnowsLiveNames(t *testing.T) {
	start(t)
	works(t, "create", "instance", "busybox", "--instances", "2", "--name", "web")
	works(t, "create", "instance", "busybox", "--name", "db")
	cnci := firstCNCI(t)
	for _, test := range []struct{ line, want string }{
		{"show instance _", "db web-1 web-2"},
		{"show instance we", "web-1 web-2"},
		{"show instance db _", ""},
		{"stop instance web-1 w", "web-2"},
		{"delete instance web-1 web-2 db _", ""},
		{"create instance _", "busybox"},
		{"create instance busybox _", ""},
		{"list instances _", "busybox"},
		{"delete workload b", "busybox"},
		{"show tenant _", "blue green"},
		{"update quota _", "blue green"},
		{"update quota blue _", "instances vcpus memory_mib disk_mib images external_ips volumes instance_vcpus instance_memory_mib instance_disk_mib"},
		{"update quota blue vcpus _", "unlimited"},
		{"update quota blue vcpus 5 _", ""},
		{"show cnci _", cnci},
		{"show node _", ""},
		{"list workloads -o _", "table json yaml"},
		{"show workload busybox --output=j", "json"},
		{"list instances --state st", "starting stopping stopped"},
		{"lis", "list"},
		{"restart ins", "instance"},
	} {
		t.Run(test.line, func(t *testing.T) {
			args := []string{"__complete"}
			for word := range strings.FieldsSeq(test.line) {
				args = append(args, strings.TrimSuffix(word, "_"))
			}
			begun := args[len(args)-1]
			if _, value, found := strings.Cut(begun, "="); found {
				begun = value
			}
			var words []string
			for line := range strings.Lines(works(t, args...)) {
				word, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
				if !strings.HasPrefix(word, ":") && strings.HasPrefix(word, begun) {
					words = append(words, word)
				}
			}
			if got := strings.Join(words, " "); got != test.want {
				t.Errorf("completes to %q, want %q", got, test.want)
			}
		})
	}
}
