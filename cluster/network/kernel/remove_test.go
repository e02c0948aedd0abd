package kernel_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ciaocloud/ciao/cluster/network"
	"github.com/ciaocloud/ciao/cluster/network/kernel"
	"github.com/ciaocloud/ciao/cluster/network/networktest"
)

// dump is what there is of a cluster's anywhere: namespaces and files of its name, and all links and tables of the host and the
// engine.
func (m *machine) dump() string {
	m.t.Helper()
	var lines []string
	for _, directory := range []string{"/run/netns", "/run/ciao", "/run/ciao/" + m.cluster} {
		entries, _ := os.ReadDir(directory)
		for _, entry := range entries {
			if strings.Contains(entry.Name(), m.cluster) || directory == "/run/ciao/"+m.cluster {
				lines = append(lines, directory+"/"+entry.Name())
			}
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		m.t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, m.cluster) {
			lines = append(lines, line)
		}
	}
	for _, space := range []*networktest.Space{m.host.Space, m.engine} {
		lines = append(lines, space.IP("-brief link"), space.IP("-brief addr"), space.IP("route show table all"), space.Run("nft", "-s", "list", "ruleset"))
	}
	return strings.Join(lines, "\n")
}

func TestRemoveLeavesNothing(t *testing.T) {
	m := newHost(t)
	before := m.dump()
	m.start()
	red := m.tenant("red", 4001)
	red.instance(2)
	red.port(3)
	pid := red.dnsmasq()
	if diff := cmp.Diff(before, m.dump()); diff == "" {
		t.Fatal("the dump does not show what was made")
	}
	// Others remove, which know nothing but the names: the makers may be dead.
	spaces := kernel.NewSpaces(kernel.SpacesConfig{Cluster: m.cluster, Node: "node-1", Parent: networktest.Parent, Host: m.host.Path()})
	node := kernel.NewNode(kernel.NodeConfig{Cluster: m.cluster, Node: "node-1", Parent: networktest.Parent, Host: m.host.Path(), Engine: m.engine.Path()})
	ids, err := spaces.List(t.Context())
	if err != nil || !cmp.Equal(ids, []string{"cnci-red"}) {
		t.Fatalf("found CNCIs %v, %v", ids, err)
	}
	for range 2 { // the second time there is nothing
		if err := spaces.Remove(t.Context(), "cnci-red"); err != nil {
			t.Fatal(err)
		}
		if err := node.Remove(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if alive(pid) {
		t.Error("dnsmasq runs on")
	}
	if diff := cmp.Diff(before, m.dump()); diff != "" {
		t.Errorf("not as before (-before +after):\n%s", diff)
	}
}

// TestRemoveGivesTheAddressesBack wants no lease to outlive what it was lent to: a cluster makes and removes a CNCI with every tenant, and
// would use up its underlay's addresses.
func TestRemoveGivesTheAddressesBack(t *testing.T) {
	m := newMachine(t)
	red := m.tenant("red", 4201)
	lent := m.host.Lent(t)
	for _, address := range []netip.Addr{red.underlay, m.facts.Underlay} {
		if !slices.Contains(lent, address) {
			t.Fatalf("%s is not among the lent: %v", address, lent)
		}
	}
	spaces := kernel.NewSpaces(kernel.SpacesConfig{Cluster: m.cluster, Node: "node-1", Parent: networktest.Parent, Host: m.host.Path()})
	if err := spaces.Remove(t.Context(), "cnci-red"); err != nil {
		t.Fatal(err)
	}
	networktest.Eventually(t, "only the node's address is lent", func() bool {
		lent = m.host.Lent(t)
		return slices.Equal(lent, []netip.Addr{m.facts.Underlay})
	})
	if err := m.node.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	networktest.Eventually(t, "nothing is lent", func() bool { return len(m.host.Lent(t)) == 0 })
}

func TestRemoveTouchesNothingOfOthers(t *testing.T) {
	m := newMachine(t)
	red := m.tenant("red", 4101)
	others := []*kernel.Spaces{
		kernel.NewSpaces(kernel.SpacesConfig{Cluster: m.cluster, Node: "node-2", Parent: networktest.Parent, Host: m.host.Path()}),
		kernel.NewSpaces(kernel.SpacesConfig{Cluster: m.cluster + "x", Node: "node-1", Parent: networktest.Parent, Host: m.host.Path()}),
	}
	before := m.dump()
	for _, other := range others {
		if ids, err := other.List(t.Context()); err != nil || len(ids) > 0 {
			t.Errorf("another found %v, %v", ids, err)
		}
		if err := other.Remove(t.Context(), "cnci-red"); err != nil {
			t.Error(err)
		}
	}
	if diff := cmp.Diff(before, m.dump()); diff != "" {
		t.Errorf("not as before (-before +after):\n%s", diff)
	}
	if !alive(red.dnsmasq()) {
		t.Error("dnsmasq was killed")
	}
}

// helperVariable makes the test program a launcher that makes ports, or an agent that serves a subnet, until it is killed.
const helperVariable = "KERNEL_TEST_HELPER"

func TestMain(m *testing.M) {
	if arguments := strings.Fields(os.Getenv(helperVariable)); len(arguments) > 0 {
		helpers := map[string]func([]string) error{"launcher": makePorts, "agent": serveSubnet}
		fmt.Println(helpers[arguments[0]](arguments[1:]))
		return
	}
	os.Exit(m.Run())
}

// makePorts wants more and more ports, and then fewer.
func makePorts(arguments []string) error {
	m := &machine{cluster: arguments[0], node: kernel.NewNode(kernel.NodeConfig{Cluster: arguments[0], Node: "node-1", Parent: networktest.Parent,
		Host: arguments[1], Engine: arguments[2]})}
	for round := 0; ; round++ {
		if _, err := m.node.Apply(context.Background(), manyPorts(round%2*20)); err != nil {
			return err
		}
	}
}

func manyPorts(count int) network.Node {
	wanted := network.Node{Subnets: []network.Subnet{{ID: "subnet", Key: 4242, Prefix: privateRange, Gateway: privateRange.Addr().Next()}}}
	address := privateRange.Addr().Next()
	for i := range count {
		address = address.Next()
		wanted.Ports = append(wanted.Ports, network.Port{Instance: fmt.Sprint("many-", i), Subnet: "subnet", Kind: network.Veth, MAC: network.MACOf(address).String()})
	}
	return wanted
}

// A launcher is killed at any moment of its work; its successor goes on from there, and removes all.
func TestSuccessorOfAKilledLauncher(t *testing.T) {
	m := newHost(t)
	before := m.dump()
	path := func(s *networktest.Space) string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), s.File().Fd()) }
	for round := range 8 {
		launcher := exec.Command(os.Args[0])
		launcher.Env = append(os.Environ(), helperVariable+"="+strings.Join([]string{"launcher", m.cluster, path(m.host.Space), path(m.engine)}, " "))
		if err := launcher.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(time.Duration(rand.IntN(300))*time.Millisecond, func() { launcher.Process.Kill() })
		launcher.Wait()
		timer.Stop()
		node := kernel.NewNode(kernel.NodeConfig{Cluster: m.cluster, Node: "node-1", Parent: networktest.Parent, Host: m.host.Path(), Engine: m.engine.Path()})
		if round%2 == 0 {
			if _, err := node.Apply(t.Context(), manyPorts(10)); err != nil {
				t.Fatal(err)
			}
			if got := strings.Count("\n"+m.engine.IP("-brief link"), "\nce"); got != 10 {
				t.Errorf("round %d: %d ends in the engine's namespace, want 10", round, got)
			}
		}
		if err := node.Remove(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, m.dump()); diff != "" {
			t.Fatalf("round %d: not as before (-before +after):\n%s", round, diff)
		}
	}
}
