package launcher_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/launcher"
	"github.com/ciaocloud/ciao/ssntp"
)

// machineDriver carries what it says are virtual machines.
type machineDriver struct{ *fileDriver }

func (machineDriver) Kind() cluster.Kind { return cluster.KindVM }

// hearingNetwork is a network whose guests are heard when a test says so.
type hearingNetwork struct {
	*fakeNetwork
	heard []string // guarded by mu
}

func (n *hearingNetwork) Heard(context.Context) ([]string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	heard := n.heard
	n.heard = nil
	return heard, nil
}

func (n *hearingNetwork) hears(instance string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.heard = append(n.heard, instance)
}

// A guest that does not ask for its address is told of, until it does; a restart of the launcher remembers that it did, and another start of
// the machine that it did not.
func TestSilentGuestIsToldOf(t *testing.T) {
	w := newWorld(t)
	n := w.node()
	ears := &hearingNetwork{fakeNetwork: n.network}
	n.drivers = []driver.Driver{machineDriver{n.driver}}
	n.config = func(c *launcher.Config) {
		c.Network, c.GuestGrace = ears, time.Millisecond
	}
	n.run()
	start := newStart(1)
	start.Kind, start.Spec.Kind = cluster.KindVM, cluster.KindVM
	silent := func(generation uint64) {
		t.Helper()
		w.eventually("the word of the silent guest", func() bool {
			now := w.states[start.Instance]
			return now.State == cluster.Active && now.Generation == generation && strings.Contains(now.Reason, "ciao console "+start.Name)
		})
	}
	heard := func(generation uint64) {
		t.Helper()
		ears.hears(start.Instance)
		w.eventually("the guest's voice", func() bool {
			now := w.states[start.Instance]
			return now.State == cluster.Active && now.Generation == generation && now.Reason == ""
		})
	}
	w.send(ssntp.Start, n.id.String(), start)
	silent(1)
	heard(1)
	n.stop()
	n.run()
	w.eventually("the inventory without a complaint", func() bool {
		now := w.listed[len(w.listed)-1].Instances
		return len(now) == 1 && now[0].State == cluster.Active && now[0].Reason == ""
	})
	ears.hears(start.Instance) // of the start that is over
	start.Generation = 2
	w.send(ssntp.Start, n.id.String(), start)
	silent(2)
	heard(2)
}
