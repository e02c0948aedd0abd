package firewall

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ciaocloud/ciao/cluster/network/networktest"
	"github.com/ciaocloud/ciao/require"
)

// state is all that Host may change.
func state(space *networktest.Space) string {
	return handles.ReplaceAllString(space.Run("nft", "-s", "list", "ruleset"), "") + space.Run("cat", forwarding) +
		space.Run("sh", "-c", "cd "+settings6+"; grep . */forwarding */accept_ra")
}

func newTestHost(t *testing.T, space *networktest.Space) *Host {
	return NewHost(HostConfig{Cluster: "test", Interface: "ciaovlan", Underlay: networktest.Underlay, Underlay6: networktest.Underlay6,
		State: filepath.Join(t.TempDir(), "host.json"), Namespace: space.Path()})
}

func TestHostRemoveRestoresExactly(t *testing.T) {
	require.Root(t)
	require.Command(t, "nft", "iptables")
	for _, c := range []struct {
		name    string
		prepare string
		chain   string // where accepts are expected
	}{
		{"nothing there", "true", ""},
		{"forwarding is on", "echo 1 > " + forwarding, ""},
		{"a policy of drop", "iptables -P FORWARD DROP", "FORWARD"},
		{"forwarding of IPv6 is on", "echo 1 > " + settings6 + "/" + forwarding6, ""},
		{"a link that listens to routers, and one that forwards", "ip link add wan type bridge; ip link add lan type bridge; echo 1 > " + settings6 + "/lan/forwarding; echo 0 > " + settings6 + "/lan/accept_ra", ""},
		{"a policy of drop for IPv6", "ip6tables -P FORWARD DROP", "IPv6"},
		{"rules of others", "iptables -A FORWARD -s 192.0.2.0/24 -j DROP", "FORWARD"},
		{"docker", "iptables -P FORWARD DROP; iptables -N DOCKER-USER; iptables -A DOCKER-USER -j RETURN; iptables -I FORWARD -j DOCKER-USER", "DOCKER-USER"},
	} {
		t.Run(c.name, func(t *testing.T) {
			space := networktest.NewSpace(t)
			space.Run("sh", "-c", c.prepare)
			before := state(space)
			host := newTestHost(t, space)
			for range 2 { // the second changes nothing
				if err := host.Apply(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			checkOpen(t, space, c.chain)
			if err := NewHost(host.config).Remove(t.Context()); err != nil { // by another process
				t.Fatal(err)
			}
			if diff := cmp.Diff(before, state(space)); diff != "" {
				t.Errorf("not as before (-before +after):\n%s", diff)
			}
			if _, err := os.Stat(host.config.State); err == nil {
				t.Error("the state file is still there")
			}
		})
	}
}

func checkOpen(t *testing.T, space *networktest.Space, chain string) {
	t.Helper()
	if got := strings.TrimSpace(space.Run("cat", forwarding)); got != "1" {
		t.Errorf("ip_forward is %s", got)
	}
	if got := strings.TrimSpace(space.Run("cat", settings6+"/"+forwarding6)); got != "1" {
		t.Errorf("forwarding of IPv6 is %s", got)
	}
	if deaf, _ := space.Try("sh", "-c", "cd "+settings6+"; ls -d wan && grep -L 2 wan/accept_ra"); strings.Contains(deaf, "accept_ra") {
		t.Error("a link that listened to routers does not any more")
	}
	rules := space.Run("nft", "list", "ruleset")
	for _, rule := range []string{`ip saddr 198.51.100.0/24 oifname != "ciaovlan" masquerade`, `ip6 saddr fd7a:31c5:90e4::/64 oifname != "ciaovlan" masquerade`} {
		if !strings.Contains(rules, rule) {
			t.Errorf("there is no %s", rule)
		}
	}
	program := "iptables"
	switch chain {
	case "":
		return
	case "IPv6":
		program, chain = "ip6tables", "FORWARD"
	}
	lines := strings.Split(strings.TrimSpace(space.Run(program, "-S", chain)), "\n")
	want := []string{"-A " + chain + " -i ciaovlan -m comment --comment \"ciao/test\" -j ACCEPT",
		"-A " + chain + " -o ciaovlan -m conntrack --ctstate RELATED,ESTABLISHED -m comment --comment \"ciao/test\" -j ACCEPT"}
	if diff := cmp.Diff(want, lines[1:3]); diff != "" || strings.Count(strings.Join(lines, "\n"), "ciao/test") != 2 {
		t.Errorf("%s (-want +got):\n%s\n%s", chain, diff, strings.Join(lines, "\n"))
	}
}

// Docker flushes and reorders when it starts; the next Apply puts our rules first again, and where Docker wants them.
func TestHostFollowsDocker(t *testing.T) {
	require.Root(t)
	require.Command(t, "nft", "iptables")
	space := networktest.NewSpace(t)
	space.Run("iptables", "-P", "FORWARD", "DROP")
	host := newTestHost(t, space)
	apply := func() {
		t.Helper()
		if err := host.Apply(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	apply()
	checkOpen(t, space, "FORWARD")
	space.Run("sh", "-c", "iptables -N DOCKER-USER; iptables -A DOCKER-USER -j RETURN; iptables -I FORWARD -j DOCKER-USER")
	apply()
	checkOpen(t, space, "DOCKER-USER")
	if rules := space.Run("iptables", "-S", "FORWARD"); strings.Contains(rules, "ciao/test") {
		t.Errorf("ours are still in FORWARD:\n%s", rules)
	}
	space.Run("iptables", "-I", "DOCKER-USER", "-s", "192.0.2.1", "-j", "DROP")
	apply()
	checkOpen(t, space, "DOCKER-USER")
	space.Run("iptables", "-F", "DOCKER-USER")
	apply()
	checkOpen(t, space, "DOCKER-USER")
}

// firewalld is not everywhere: a program in its place notes what it is told.
func TestHostTellsFirewalld(t *testing.T) {
	require.Root(t)
	directory := t.TempDir()
	script := "#!/bin/sh\necho \"$@\" >> " + directory + "/log\ncase \"$*\" in *query*) test -e " + directory + "/in;; *change*) touch " + directory + "/in;; *remove*) rm " + directory + "/in;; esac\n"
	if err := os.WriteFile(filepath.Join(directory, "firewall-cmd"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", directory+":"+os.Getenv("PATH"))
	host := newTestHost(t, networktest.NewSpace(t))
	for _, step := range []func() error{func() error { return host.Apply(t.Context()) }, func() error { return host.Apply(t.Context()) },
		func() error { return host.Remove(t.Context()) }} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	log, err := os.ReadFile(filepath.Join(directory, "log"))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(log); strings.Count(got, "--change-interface=ciaovlan") != 1 || strings.Count(got, "--remove-interface=ciaovlan") != 1 {
		t.Errorf("firewalld was told:\n%s", got)
	}
}
