package networktest

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/network"
)

// RunKernel is what every network.Kernel must pass; open makes one with a link to the underlay.
func RunKernel(t *testing.T, open func(t *testing.T) network.Kernel) {
	t.Run("reaches each state from each other", func(t *testing.T) { testStates(t, open(t)) })
	t.Run("goes on after a crash at any step", func(t *testing.T) { testCrashes(t, open(t)) })
	t.Run("repeats every step", func(t *testing.T) { testRepeats(t, open(t)) })
	t.Run("gives back what was changed", func(t *testing.T) { testDrift(t, open(t)) })
}

var site = network.Site{Cluster: "suite", Underlay: netip.MustParsePrefix("198.51.100.60/24"), MTU: 1500}

func images(t *testing.T) map[string]network.Image {
	t.Helper()
	subnet := func(id string, key uint32, peers ...netip.Addr) network.Subnet {
		return network.Subnet{ID: id, Key: key, Prefix: netip.MustParsePrefix("172.16.0.0/24"), Gateway: netip.MustParseAddr("172.16.0.1"),
			Prefix6: Prefix6(key), Gateway6: Prefix6(key).Addr().Next(),
			Concentrator: netip.MustParseAddr("198.51.100.70"), Peers: peers}
	}
	port := func(number int, kind network.PortKind, subnet string) network.Port {
		address := netip.AddrFrom4([4]byte{172, 16, 0, byte(number)})
		return network.Port{Instance: fmt.Sprint("instance-", number), Subnet: subnet, Kind: kind, MAC: network.MACOf(address).String(), Addresses: []netip.Addr{address, cluster.HostAddress(Prefix6(7), uint32(number))}}
	}
	peer := netip.MustParseAddr("198.51.100.61")
	with := func(s network.Subnet, node netip.Addr) network.Subnet { // a neighbour there
		s.Neighbours = []network.Neighbour{{MAC: "02:00:ac:10:00:09", Node: node}}
		return s
	}
	wanted := map[string]network.Node{
		"no subnet":    {},
		"one subnet":   {Subnets: []network.Subnet{subnet("red", 7)}, Ports: []network.Port{port(2, network.Veth, "red")}},
		"two subnets":  {Subnets: []network.Subnet{with(subnet("red", 7, peer), peer), subnet("blue", 8)}, Ports: []network.Port{port(2, network.Veth, "blue"), port(3, network.Veth, "red"), port(4, network.Tap, "blue")}},
		"a move":       {Subnets: []network.Subnet{with(subnet("red", 7, peer, peer.Next()), peer.Next())}, Ports: []network.Port{port(3, network.Veth, "red")}},
		"another key":  {Subnets: []network.Subnet{subnet("red", 9)}, Ports: []network.Port{port(2, network.Veth, "red")}},
		"another kind": {Subnets: []network.Subnet{subnet("red", 7)}, Ports: []network.Port{port(2, network.Tap, "red")}},
	}
	all := map[string]network.Image{"nothing": network.NewImage()}
	for name, node := range wanted {
		image, err := network.NodeImage(site, node)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = image
	}
	gateway := network.Concentrator{Subnet: with(subnet("red", 7, peer), peer), Domain: "red.ciao", Blocked: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	with6 := site
	with6.Underlay6 = []netip.Prefix{Underlay6}
	for name, site := range map[string]network.Site{"concentrator": site, "concentrator with a way out": with6} {
		image, err := network.ConcentratorImage(site, gateway)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = image
	}
	return all
}

func converge(t *testing.T, kernel network.Kernel, wanted network.Image) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := network.NewConverger(kernel).Apply(ctx, wanted); err != nil {
		t.Fatal(err)
	}
	check(t, kernel, wanted)
}

func check(t *testing.T, kernel network.Kernel, wanted network.Image) {
	t.Helper()
	read, err := kernel.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Print(wanted), Print(read)); diff != "" {
		t.Fatalf("the kernel is not as wanted (-want +got):\n%s", diff)
	}
}

func testStates(t *testing.T, kernel network.Kernel) {
	all := images(t)
	names := slices.Sorted(maps.Keys(all))
	for i, from := range names {
		converge(t, kernel, all[from])
		for _, to := range names[i+1:] {
			t.Logf("%s → %s → %s", from, to, from)
			converge(t, kernel, all[to])
			converge(t, kernel, all[from])
		}
	}
}

// dying takes some steps and dies.
type dying struct {
	network.Kernel
	steps int
}

func (d *dying) Execute(ctx context.Context, steps []network.Step) error {
	if len(steps) <= d.steps {
		return d.Kernel.Execute(ctx, steps)
	}
	if err := d.Kernel.Execute(ctx, steps[:d.steps]); err != nil {
		return err
	}
	return fmt.Errorf("died after %d steps: %w", d.steps, cluster.ErrUnavailable)
}

func testCrashes(t *testing.T, kernel network.Kernel) {
	all := images(t)
	for _, way := range [][2]string{{"nothing", "two subnets"}, {"two subnets", "another key"}, {"two subnets", "a move"}, {"two subnets", "nothing"}, {"one subnet", "another kind"}} {
		converge(t, kernel, all[way[0]])
		for steps := 0; ; steps++ {
			err := network.NewConverger(&dying{kernel, steps}).Apply(t.Context(), all[way[1]])
			if err == nil {
				break
			}
			// The successor is wanted to do one or the other.
			converge(t, kernel, all[way[steps%2]])
			converge(t, kernel, all[way[0]])
		}
		check(t, kernel, all[way[1]])
	}
}

func testRepeats(t *testing.T, kernel network.Kernel) {
	all := images(t)
	converge(t, kernel, all["nothing"])
	for _, step := range network.Plan(network.NewImage(), all["two subnets"]) {
		if err := kernel.Execute(t.Context(), []network.Step{step}); err != nil {
			t.Fatal(err)
		}
		if _, once := step.(network.AddLink); once {
			continue // a link that is there was read, and is not planned
		}
		if err := kernel.Execute(t.Context(), []network.Step{step}); err != nil {
			t.Errorf("again: %v", err)
		}
	}
	check(t, kernel, all["two subnets"])
	for _, step := range network.Plan(all["two subnets"], network.NewImage()) {
		for range 2 {
			if err := kernel.Execute(t.Context(), []network.Step{step}); err != nil {
				t.Error(err)
			}
		}
	}
}

// testDrift changes the kernel by other hands than the plan's.
func testDrift(t *testing.T, kernel network.Kernel) {
	all := images(t)
	for _, theirs := range []string{"one subnet", "two subnets", "concentrator"} {
		converger := network.NewConverger(kernel)
		if err := converger.Apply(t.Context(), all["another key"]); err != nil {
			t.Fatal(err)
		}
		converge(t, kernel, all[theirs])
		converger.Forget()
		if err := converger.Apply(t.Context(), all["another key"]); err != nil {
			t.Fatal(err)
		}
		check(t, kernel, all["another key"])
	}
}
