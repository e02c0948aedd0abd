package network_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/network"
	"github.com/ciaocloud/ciao/cluster/network/networktest"
)

// slow takes a while for each pass, and counts them.
type slow struct {
	*networktest.Kernel
	passes int
}

func (s *slow) Execute(ctx context.Context, steps []network.Step) error {
	s.passes++
	time.Sleep(10 * time.Millisecond)
	return s.Kernel.Execute(ctx, steps)
}

func TestConvergerCombinesCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kernel := &slow{Kernel: networktest.NewKernel()}
		converger := network.NewConverger(kernel)
		var ports []network.Port
		var callers sync.WaitGroup
		for i := range 50 {
			ports = append(ports, port(fmt.Sprint("i", i), "red", fmt.Sprintf("172.16.0.%d", i+2)))
			id, wait := network.NodeEnd(fmt.Sprint("i", i)), converger.Start(nodeImage(t, []network.Subnet{subnet("red", 1)}, ports...))
			callers.Go(func() {
				if err := wait(t.Context()); err != nil {
					t.Error(err)
				}
				if !strings.Contains(kernel.String(), "link "+id+" ") {
					t.Errorf("a caller returned before its port %s was there", id)
				}
			})
		}
		callers.Wait()
		if kernel.passes > 2 {
			t.Errorf("50 calls took %d passes, want the first and one for all others", kernel.passes)
		}
		if kernel.Reads() != 1 {
			t.Errorf("the kernel was read %d times, want once", kernel.Reads())
		}
		converger.Wait()
	})
}

func TestConvergerReadsAgain(t *testing.T) {
	red := []network.Subnet{subnet("red", 1)}
	wanted := nodeImage(t, red, port("a", "red", "172.16.0.2"))
	for _, c := range []struct {
		name    string
		disturb func(*networktest.Kernel, *network.Converger)
		reads   int
	}{
		{"not when all is well", func(*networktest.Kernel, *network.Converger) {}, 1},
		{"when told to forget", func(_ *networktest.Kernel, c *network.Converger) { c.Forget() }, 2},
		{"when a link has vanished", func(k *networktest.Kernel, _ *network.Converger) { k.Vanish(network.NodeEnd("a")) }, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			kernel := networktest.NewKernel()
			converger := network.NewConverger(kernel)
			for range 2 {
				if err := converger.Apply(t.Context(), wanted); err != nil {
					t.Fatal(err)
				}
				if kernel.Reads() == 1 {
					c.disturb(kernel, converger)
				}
			}
			if kernel.Reads() != c.reads {
				t.Errorf("%d reads, want %d", kernel.Reads(), c.reads)
			}
			if networktest.Print(wanted) != kernel.String() {
				t.Errorf("not as wanted:\n%s", kernel)
			}
		})
	}
}

// A waiting caller leaves when its context ends; the pass goes on for the others.
func TestConvergerCallerGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kernel := &slow{Kernel: networktest.NewKernel()}
		converger := network.NewConverger(kernel)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := converger.Apply(ctx, nodeImage(t, nil)); !errors.Is(err, cluster.ErrTimeout) {
			t.Errorf("error %v, want one of class deadline exceeded", err)
		}
		converger.Wait()
		if !strings.Contains(kernel.String(), "table bridge ciao") {
			t.Error("the pass did not go on")
		}
	})
}
