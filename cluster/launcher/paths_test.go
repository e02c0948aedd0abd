package launcher

import (
	"log/slog"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ciaocloud/ciao/cluster/network"
	"github.com/ciaocloud/ciao/cluster/payload"
)

var (
	ownEnd  = netip.MustParseAddr("198.51.100.60")
	peerEnd = netip.MustParseAddr("198.51.100.61")
	red     = payload.SubnetPaths{
		ID: "red", Tenant: "t", Key: 7, Prefix: netip.MustParsePrefix("172.16.0.0/24"), Gateway: netip.MustParseAddr("172.16.0.1"),
		Peers: []netip.Addr{ownEnd, peerEnd}, Neighbours: []payload.Neighbour{{MAC: "02:00:ac:10:00:02", Node: ownEnd}, {MAC: "02:00:ac:10:00:03", Node: peerEnd}},
	}
)

// A node whose address has come back from another node has entries of itself for a while: they would send its frames to itself.
func TestNodeIsNoNeighbourOfItself(t *testing.T) {
	want := network.Subnet{
		ID: "red", Tenant: "t", Key: 7, Prefix: red.Prefix, Gateway: red.Gateway,
		Peers: []netip.Addr{peerEnd}, Neighbours: []network.Neighbour{{MAC: "02:00:ac:10:00:03", Node: peerEnd}},
	}
	if diff := cmp.Diff(want, wantedSubnet(red, ownEnd), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
		t.Errorf("wanted (-want +got):\n%s", diff)
	}
}

// A change of the neighbours alone is wanted at once, and known to the next launcher.
func TestNeighboursAreLearnt(t *testing.T) {
	file := filepath.Join(t.TempDir(), "paths")
	f, err := newFabric(nil, file, time.Second, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	moved := red
	moved.Neighbours = []payload.Neighbour{{MAC: "02:00:ac:10:00:02", Node: peerEnd}}
	for _, step := range []struct {
		paths payload.SubnetPaths
		news  bool
	}{{red, true}, {red, false}, {moved, true}} {
		if err := f.learn([]payload.SubnetPaths{step.paths}); err != nil {
			t.Fatal(err)
		}
		select {
		case <-f.wake:
			if !step.news {
				t.Error("what is known already was applied again")
			}
		default:
			if step.news {
				t.Error("a change is not applied")
			}
		}
	}
	kept, err := readPaths(file)
	if err != nil || !samePaths(kept["red"], moved) {
		t.Errorf("kept are %+v, %v; want %+v", kept["red"], err, moved)
	}
}
