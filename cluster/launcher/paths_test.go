package launcher

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ciaocloud/ciao/cluster/payload"
)

var (
	ownEnd  = netip.MustParseAddr("198.51.100.60")
	peerEnd = netip.MustParseAddr("198.51.100.61")
	red     = payload.SubnetPaths{
		ID: "red", Tenant: "t", Key: 7, Prefix: netip.MustParsePrefix("172.16.0.0/24"), Gateway: netip.MustParseAddr("172.16.0.1"), Version: 1,
		Neighbours: []payload.Neighbour{{MAC: "02:00:ac:10:00:02", Node: ownEnd}, {MAC: "02:00:ac:10:00:03", Node: peerEnd}},
	}
)

func newTestFabric(t *testing.T, file string) *fabric {
	t.Helper()
	f, err := newFabric(nil, file, time.Second, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// Nodes that have an instance are peers; the network leaves out the node itself.
func TestPeersAreTheNodesOfNeighbours(t *testing.T) {
	again := red
	again.Neighbours = append(again.Neighbours, payload.Neighbour{MAC: "02:00:ac:10:00:04", Node: ownEnd})
	if got := newLearnt(again).wanted.Peers; !slices.Equal(got, []netip.Addr{ownEnd, peerEnd}) {
		t.Errorf("peers are %v", got)
	}
}

// News are wanted at once; those of another version than the node has are not taken, but asked for.
func TestNewsAreLearnt(t *testing.T) {
	f := newTestFabric(t, filepath.Join(t.TempDir(), "paths"))
	moved := red
	moved.Version = 2
	moved.Neighbours = []payload.Neighbour{{MAC: "02:00:ac:10:00:02", Node: peerEnd}, red.Neighbours[1]}
	later := moved
	later.Version = 9
	for number, step := range []struct {
		news            payload.SubnetPaths
		applied, missed bool
		version         uint64
	}{
		{moved.NewsTo(red), false, true, 0},
		{red, true, false, 1},
		{red, false, false, 1},
		{red.Head(), false, false, 1},
		{moved.NewsTo(red), true, false, 2},
		{moved.NewsTo(red), false, false, 2},
		{later.Head(), false, true, 2},
		{later, true, false, 9},
	} {
		missed := f.learn([]payload.SubnetPaths{step.news})
		if (len(missed) == 1) != step.missed || f.subnets["red"].paths.Version != step.version {
			t.Errorf("step %d: missed %v, version %d", number, missed, f.subnets["red"].paths.Version)
		}
		select {
		case <-f.wake:
			if !step.applied {
				t.Errorf("step %d: what is known already was applied again", number)
			}
		default:
			if step.applied {
				t.Errorf("step %d: a change is not applied", number)
			}
		}
	}
}

// A subnet is on disk before anything is done with it; later changes follow soon, and when the launcher ends.
func TestPathsAreKept(t *testing.T) {
	file := filepath.Join(t.TempDir(), "paths")
	kept := func() uint64 { return newTestFabric(t, file).subnets["red"].paths.Version }
	synctest.Test(t, func(t *testing.T) {
		f := newTestFabric(t, file)
		f.learn([]payload.SubnetPaths{red})
		if kept() != 1 {
			t.Errorf("version %d is kept of a new subnet", kept())
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { f.keep(ctx); close(done) }()
		change := func(version uint64) {
			next := red
			next.Version, next.Neighbours = version, red.Neighbours[:1]
			f.learn([]payload.SubnetPaths{next})
		}
		change(2)
		change(3)
		synctest.Wait()
		if kept() != 1 {
			t.Errorf("version %d is on disk already", kept())
		}
		time.Sleep(2 * saveInterval)
		if kept() != 3 {
			t.Errorf("version %d is kept of the last change", kept())
		}
		change(4)
		cancel()
		<-done
		if kept() != 4 {
			t.Errorf("version %d is kept at the end", kept())
		}
	})
}

// A file that a loss of power cut off is no reason not to work.
func TestUnreadablePathsAreToldAnew(t *testing.T) {
	file := filepath.Join(t.TempDir(), "paths")
	if err := os.WriteFile(file, []byte(`{"red": {"ID": "r`), 0o600); err != nil {
		t.Fatal(err)
	}
	f := newTestFabric(t, file)
	if missed := f.learn([]payload.SubnetPaths{red.Head()}); !slices.Equal(missed, []string{"red"}) {
		t.Errorf("missed %v", missed)
	}
}
