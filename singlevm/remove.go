package singlevm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/terminal"
)

// Deadlines of taking a node away.
const (
	emptyLimit  = 2 * time.Minute // until what it has is elsewhere
	forgetLimit = time.Minute     // until the cluster knows that it is not connected
)

// RemoveNode takes a node away for good. Its instances go to other nodes first; with force its plug is pulled before that, which is the
// way for a node that does not answer.
func (s *Setup) RemoveNode(ctx context.Context, number int, force bool) error {
	n, id, unlock, err := s.lockNode(ctx, number)
	if err != nil {
		return err
	}
	defer unlock()
	if number == 1 {
		return terminal.Usage("node 1 stays as long as the cluster does: `singlevm cleanup` removes all, `singlevm node stop 1` pulls its plug")
	}
	if fault := n.fault(); fault != "" && !force {
		return fmt.Errorf("%w: node %d is %s and cannot hand its instances over; heal it first, or use --force", cluster.ErrConflict, number, fault)
	}
	operator, err := newClient(s.layout.client(operatorName))
	if err != nil {
		return err
	}
	defer operator.Close()
	leave := step{"what it has goes elsewhere", func(ctx context.Context) error { return handOver(ctx, operator, id, force) }}
	end := step{"its launcher, network and containers", func(ctx context.Context) error { return s.endNode(ctx, n, id) }}
	order := []step{leave, end}
	if force {
		order = []step{end, leave}
	}
	return s.steps(ctx, append(order,
		step{"the cluster forgets it", func(ctx context.Context) error { return forgetNode(ctx, operator, id) }},
		step{"its files", func(context.Context) error { return os.RemoveAll(n.home()) }},
	))
}

// handOver evacuates a node and waits until nothing is on it. One that the cluster does not know has nothing.
func handOver(ctx context.Context, operator *client.Client, id string, lost bool) error {
	ctx, cancel := context.WithTimeout(ctx, emptyLimit)
	defer cancel()
	asked := false
	return repeat(ctx, func() (bool, error) {
		if !asked {
			_, err := operator.EvacuateNode(ctx, id, lost)
			if lost && errors.Is(err, cluster.ErrConflict) {
				return false, nil // it counts as connected for a while yet
			}
			if err != nil {
				return errors.Is(err, cluster.ErrNotFound), ignoreNotFound(err)
			}
			asked = true
		}
		node, err := operator.Node(ctx, id)
		return err == nil && node.Instances == 0 && node.MemoryMiBAllocated == 0, err
	})
}

// endNode ends everything that runs for a node, and removes what the engine has of it.
func (s *Setup) endNode(ctx context.Context, n node, id string) error {
	if err := replaceFile(n.faultFile(), []byte(stopped+"\n"), 0o644); err != nil {
		return err
	}
	if err := s.stopNode(ctx, n, id); err != nil {
		return err
	}
	clean := func(c carriers) error { return c.Clean(ctx) }
	return errors.Join(s.cleanNode(ctx, id, n), n.withCarriers(id, clean))
}

// forgetNode deletes a node once the cluster knows that it is not connected.
func forgetNode(ctx context.Context, operator *client.Client, id string) error {
	ctx, cancel := context.WithTimeout(ctx, forgetLimit)
	defer cancel()
	return repeat(ctx, func() (bool, error) {
		err := operator.DeleteNode(ctx, id)
		if errors.Is(err, cluster.ErrConflict) {
			return false, nil
		}
		return true, ignoreNotFound(err)
	})
}

func ignoreNotFound(err error) error {
	if errors.Is(err, cluster.ErrNotFound) {
		return nil
	}
	return err
}

// repeat tries until it is done, fails, or ctx ends.
func repeat(ctx context.Context, try func() (done bool, err error)) error {
	for {
		done, err := try()
		if done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: it takes too long; `ciao list nodes` and `ciao list events` tell more, and the same command goes on where this one ended", cluster.ErrTimeout)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
