package controller

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/store"
	"github.com/ciaocloud/ciao/ssntp"
)

// story is a whole life of two instances on two nodes. Requests are repeated until they are answered, as a user would.
func (w *world) story() {
	w.t.Helper()
	w.insist("create", func() error {
		list, _, err := w.c.Instances(w.ctx, w.tenant.ID, InstanceFilter{})
		if err != nil || len(list) == 2 {
			return err
		}
		_, err = w.c.CreateInstances(w.ctx, w.tenant.ID, InstanceRequest{Workload: "web", Count: 2, Name: "web"})
		return err
	})
	w.untilState(cluster.Active, 2)
	w.insist("stop", func() error { _, err := w.c.StopInstance(w.ctx, w.tenant.ID, "web-1"); return err })
	w.untilState(cluster.Stopped, 1)
	w.insist("start", func() error { _, err := w.c.StartInstance(w.ctx, w.tenant.ID, "web-1"); return err })
	w.untilState(cluster.Active, 2)
	w.until("both live on their nodes", func() bool { return w.fake.live() == 2 })
	w.check()
	w.insist("delete", func() error { _, err := w.c.DeleteInstances(w.ctx, w.tenant.ID, InstanceFilter{}); return err })
	w.untilGone()
	w.until("nothing is left, the idle CNCI is gone", func() bool { return w.fake.held() == 0 })
	w.until("the subnet is gone", func() bool {
		cncis, err := w.c.CNCIs(w.ctx, Operator)
		return err == nil && len(cncis) == 0
	})
}

// insist repeats a request while the controller is away.
func (w *world) insist(what string, request func() error) {
	w.t.Helper()
	for range 100 {
		err := request()
		if err == nil {
			return
		}
		if !errors.Is(err, cluster.ErrUnavailable) {
			w.t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(50 * time.Millisecond)
		synctest.Wait()
		w.succeed()
	}
	w.t.Fatalf("%s was never answered", what)
}

// Whichever single frame is lost, the story ends the same.
func TestAnyFrameMayBeLost(t *testing.T) {
	for _, operand := range []ssntp.Operand{ssntp.Place, ssntp.Placed, ssntp.Start, ssntp.Stop, ssntp.Delete, ssntp.Configure,
		ssntp.InstanceState, ssntp.Inventory, ssntp.NodeConnected, ssntp.RequestInventory, ssntp.ConcentratorState} {
		t.Run(operand.String(), func(t *testing.T) {
			lost := 0
			for more := true; more; lost++ {
				more = false
				inWorld(t, func(w *world) {
					w.fake.with(func() { w.fake.drop = dropNth(operand, lost, &more) })
					w.fake.addNode(2)
					w.story()
				})
				if t.Failed() {
					t.Fatalf("with %v number %d lost", operand, lost)
				}
			}
			if lost < 2 {
				t.Error("none was ever sent: the test tests nothing")
			}
		})
	}
}

func dropNth(operand ssntp.Operand, lost int, dropped *bool) func(int, ssntp.Frame, bool) bool {
	n := -1
	return func(_ int, f ssntp.Frame, _ bool) bool {
		if f.Operand == operand {
			n++
		}
		if f.Operand != operand || n != lost {
			return false
		}
		*dropped = true
		return true
	}
}

// With a tenth of all frames lost, repeated or delivered late, the story ends the same.
func TestLossRepetitionAndDisorder(t *testing.T) {
	for seed := range uint64(40) {
		inWorld(t, func(w *world) {
			w.fake.addNode(2)
			random := rand.New(rand.NewPCG(seed, 2))
			late := map[*byte]bool{}
			w.fake.with(func() {
				w.fake.drop = func(_ int, f ssntp.Frame, toController bool) bool {
					if f.Payload != nil && late[&f.Payload[0]] {
						return false
					}
					again := func(after time.Duration) {
						if f.Payload != nil {
							late[&f.Payload[0]] = true
						}
						time.AfterFunc(after, func() { w.fake.with(func() { w.fake.push(delivery{f, toController}) }) })
					}
					switch random.IntN(20) {
					case 0:
						return true
					case 1:
						again(0)
					case 2:
						if toController { // commands overtake each other only when they are lost and sent again
							again(time.Duration(random.IntN(40)) * time.Millisecond)
							return true
						}
					}
					return false
				}
			})
			w.story()
		})
		if t.Failed() {
			t.Fatalf("with seed %d", seed)
		}
	}
}

// crashing is a backend that kills the controller at one of its commits: just before it, or just after.
type crashing struct {
	store.Backend
	mu     sync.Mutex
	left   int
	after  bool
	killed func()
}

func (c *crashing) Commit(ctx context.Context, commit store.Commit) (store.Revision, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left--
	if c.left > 0 {
		return c.Backend.Commit(ctx, commit)
	}
	if c.left == 0 && c.after {
		if _, err := c.Backend.Commit(ctx, commit); err != nil {
			return 0, err
		}
	}
	if c.left == 0 {
		c.killed()
	}
	return 0, fmt.Errorf("%w: the controller was killed", store.ErrUnavailable)
}

// Whichever commit the controller is killed at, before or after it, its successor ends the story.
func TestKilledAtAnyCommit(t *testing.T) {
	for _, after := range []bool{false, true} {
		for at, more := 1, true; more; at++ {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.open(w.memory.Backend())
				w.lead()
				w.fake.addNode(1)
				w.fake.addNode(2)
				w.prepare()
				w.halt()
				more = false
				w.open(&crashing{Backend: w.memory.Backend(), left: at, after: after, killed: func() {
					more = true
					w.stop()
					w.killed <- struct{}{}
				}})
				w.lead()
				w.story()
				w.succeed()
				w.check()
				w.close()
			})
			if t.Failed() {
				t.Fatalf("killed at commit %d, after it: %t", at, after)
			}
		}
	}
}

func TestRestartWhileInstancesStart(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(30, "web")
		for range 5 {
			time.Sleep(7 * time.Millisecond)
			w.restart()
		}
		w.untilState(cluster.Active, 30)
		if n := w.fake.live(); n != 30 {
			t.Errorf("%d are live", n)
		}
	})
}

// A scheduler that was away, and knows nothing, harms nobody.
func TestLinkLoss(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(3, "web")
		w.untilState(cluster.Active, 3)
		w.c.Disconnected(w.ctx, errors.New("gone"))
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if n := w.count(cluster.Active); n != 3 {
			t.Errorf("%d are active without a scheduler", n)
		}
		w.create(1, "more")
		w.fake.attach(w.c)
		w.untilState(cluster.Active, 4)
	})
}

// After random requests with nodes coming and going, reservations and instances agree, and everything can be deleted.
func TestRandomRequests(t *testing.T) {
	for seed := range uint64(30) {
		inWorld(t, func(w *world) {
			random := rand.New(rand.NewPCG(seed, 3))
			w.fake.addNode(2)
			limit := cluster.Limit(12)
			if _, _, _, err := w.c.UpdateQuota(w.ctx, w.tenant.ID, QuotaUpdate{Instances: &limit}, 0); err != nil {
				t.Fatal(err)
			}
			for range 60 {
				w.randomRequest(random)
				time.Sleep(time.Duration(random.IntN(15)) * time.Millisecond)
				w.check()
			}
			for _, node := range w.fake.order {
				if !w.fake.nodes[node].connected {
					w.fake.reconnect(node)
				}
			}
			w.until("all settled", func() bool {
				for _, i := range w.instances() {
					if !i.State.Settled() || i.State == cluster.Missing {
						return false
					}
				}
				return true
			})
			w.until("as many live as are active", func() bool { return w.fake.live() == w.count(cluster.Active) })
			w.check()
			if _, err := w.c.DeleteInstances(w.ctx, Operator, InstanceFilter{}); err != nil {
				t.Fatal(err)
			}
			w.untilGone()
		})
		if t.Failed() {
			t.Fatalf("with seed %d", seed)
		}
	}
}

func (w *world) randomRequest(random *rand.Rand) {
	w.t.Helper()
	list := w.instances()
	pick := func() string {
		if len(list) == 0 {
			return "none"
		}
		return list[random.IntN(len(list))].ID
	}
	var err error
	switch random.IntN(8) {
	case 0, 1, 2:
		_, err = w.c.CreateInstances(w.ctx, w.tenant.ID, InstanceRequest{Workload: "web", Count: 1 + random.IntN(4)})
	case 3:
		_, err = w.c.StopInstance(w.ctx, w.tenant.ID, pick())
	case 4:
		_, err = w.c.StartInstance(w.ctx, w.tenant.ID, pick())
	case 5, 6:
		_, err = w.c.DeleteInstance(w.ctx, w.tenant.ID, pick())
	case 7:
		node := w.fake.order[random.IntN(len(w.fake.order))]
		if w.fake.nodes[node].connected {
			w.fake.disconnect(node)
		} else {
			w.fake.reconnect(node)
		}
	}
	expected := errors.Is(err, cluster.ErrOverQuota) || errors.Is(err, cluster.ErrConflict) || errors.Is(err, cluster.ErrNotFound)
	if err != nil && !expected {
		w.t.Fatal(err)
	}
}
