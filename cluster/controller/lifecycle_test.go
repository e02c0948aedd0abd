package controller

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/ssntp"
)

func TestLifeOfAnInstance(t *testing.T) {
	inWorld(t, func(w *world) {
		created := w.create(1, "web")[0]
		w.untilState(cluster.Active, 1)
		first := w.instance("web")
		if first.ID != created.ID || first.MAC != created.MAC || first.MAC != "02:00:ac:10:00:02" {
			t.Errorf("it is active as %s %s, and was created as %s %s", first.ID, first.MAC, created.ID, created.MAC)
		}
		if _, err := w.c.StopInstance(w.ctx, w.tenant.ID, "web"); err != nil {
			t.Fatal(err)
		}
		w.untilState(cluster.Stopped, 1)
		if _, err := w.c.StartInstance(w.ctx, w.tenant.ID, first.ID); err != nil {
			t.Fatal(err)
		}
		w.untilState(cluster.Active, 1)
		again := w.instance("web")
		if again.Generation != 2 || again.Node != first.Node || again.MAC != first.MAC || again.Addresses[0] != first.Addresses[0] {
			t.Errorf("after stop and start it is %+v, before it was %+v", again, first)
		}
		if _, err := w.c.DeleteInstance(w.ctx, w.tenant.ID, "web"); err != nil {
			t.Fatal(err)
		}
		w.untilGone()
		if n := w.fake.live(); n != 0 {
			t.Errorf("%d instances are live after all were deleted", n)
		}
		w.until("the idle CNCI is gone", func() bool { return w.fake.held() == 0 })
	})
}

func TestManyAtOnce(t *testing.T) {
	for _, count := range []int{50, 1000} {
		t.Run(fmt.Sprint(count), func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.fake.addNode(2)
				begun := time.Now()
				created := w.create(count, "web")
				if got := len(w.instances()); got != count {
					t.Errorf("%d are listed at once, want %d", got, count)
				}
				w.untilState(cluster.Active, count)
				t.Logf("%d active after %s and %d commits", count, time.Since(begun), w.c.Counters().Commits)
				if created[count-1].Name != fmt.Sprintf("web-%d", count) {
					t.Errorf("the last is named %s", created[count-1].Name)
				}
				w.check()
				if n, err := w.c.DeleteInstances(w.ctx, w.tenant.ID, InstanceFilter{}); n != count || err != nil {
					t.Errorf("deleted %d, %v; want %d", n, err, count)
				}
				w.untilGone()
			})
		})
	}
}

func TestFailedStartKeepsItsReason(t *testing.T) {
	inWorld(t, func(w *world) {
		w.fake.onStart = func(_ string, s payload.Start) (cluster.State, string, bool) {
			if s.Kind == cluster.KindCNCI {
				return "", "", false
			}
			return cluster.Failed, "pull busybox: no such image", false
		}
		w.create(1, "web")
		w.untilState(cluster.Failed, 1)
		if i := w.instance("web"); i.Reason != "pull busybox: no such image" {
			t.Errorf("the reason is %q", i.Reason)
		}
		w.fake.with(func() { w.fake.onStart = nil })
		if _, err := w.c.StartInstance(w.ctx, w.tenant.ID, "web"); err != nil {
			t.Fatal(err)
		}
		w.untilState(cluster.Active, 1)
	})
}

func TestRefusedStartGoesElsewhere(t *testing.T) {
	inWorld(t, func(w *world) {
		second := w.fake.addNode(2)
		refused := 0
		w.fake.with(func() {
			w.fake.onStart = func(node string, s payload.Start) (cluster.State, string, bool) {
				if node != second && s.Kind != cluster.KindCNCI {
					refused++
					return cluster.Failed, "no room", true
				}
				return "", "", false
			}
		})
		w.create(4, "web")
		w.untilState(cluster.Active, 4)
		for _, i := range w.instances() {
			if i.Node != second {
				t.Errorf("%s is on %s", i.Name, i.Node)
			}
			for _, refusal := range i.Refusals {
				if refused--; refusal.Node == second || refusal.Reason != "no room" {
					t.Errorf("%s was refused by %+v", i.Name, refusal)
				}
			}
		}
		if refused != 0 {
			t.Errorf("%d refusals are not told", refused)
		}
		if len(w.instance("web-1").Refusals)+len(w.instance("web-2").Refusals)+len(w.instance("web-3").Refusals)+len(w.instance("web-4").Refusals) == 0 {
			t.Error("no start was refused: the test tests nothing")
		}
	})
}

// What each node said that could not start an instance is kept until it is asked to start again, and no more than the last five.
func TestRefusalsOfAllNodes(t *testing.T) {
	inWorld(t, func(w *world) {
		for number := 2; number <= 7; number++ {
			w.fake.addNode(number)
		}
		var said []cluster.Refusal
		broken := true
		w.fake.with(func() {
			w.fake.onStart = func(node string, s payload.Start) (cluster.State, string, bool) {
				if s.Kind == cluster.KindCNCI || !broken {
					return "", "", false
				}
				said = append(said, cluster.Refusal{Node: node, Reason: "no room on " + node})
				if len(said) == 7 { // it is not to be tried anywhere else
					return cluster.Failed, "broken", false
				}
				return cluster.Failed, "no room on " + node, true
			}
		})
		w.create(1, "web")
		w.untilState(cluster.Failed, 1)
		if diff := cmp.Diff(said[1:6], w.instance("web").Refusals); diff != "" {
			t.Errorf("(-said +kept):\n%s", diff)
		}
		w.fake.with(func() { broken = false })
		if _, err := w.c.StartInstance(w.ctx, w.tenant.ID, "web"); err != nil {
			t.Fatal(err)
		}
		w.untilState(cluster.Active, 1)
		if kept := w.instance("web").Refusals; len(kept) != 0 {
			t.Errorf("after the next start are told: %+v", kept)
		}
	})
}

func TestNoRoom(t *testing.T) {
	tests := []struct {
		name      string
		permanent bool
		atLeast   time.Duration
	}{
		{"ever", true, 0},
		{"now", false, 30 * time.Second},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.fake.with(func() {
					w.fake.refuse = func(r payload.PlacementRequest) *payload.PlacementFailure {
						if r.Kind == cluster.KindCNCI {
							return nil
						}
						return &payload.PlacementFailure{Reason: "no node has room: 1 of 1 nodes lacks 64 MiB memory", Permanent: test.permanent}
					}
				})
				begun := time.Now()
				w.create(2, "web")
				w.untilState(cluster.Failed, 2)
				if took := time.Since(begun); took < test.atLeast || took > test.atLeast+5*time.Second {
					t.Errorf("they failed after %s", took)
				}
				if i := w.instance("web-1"); i.Reason != "no node has room: 1 of 1 nodes lacks 64 MiB memory" {
					t.Errorf("the reason is %q", i.Reason)
				}
			})
		})
	}
}

func TestRoomComesFree(t *testing.T) {
	inWorld(t, func(w *world) {
		full := true
		w.fake.with(func() {
			w.fake.refuse = func(r payload.PlacementRequest) *payload.PlacementFailure {
				if full && r.Kind != cluster.KindCNCI {
					return &payload.PlacementFailure{Reason: "full"}
				}
				return nil
			}
		})
		w.create(1, "web")
		w.until("the reason is shown", func() bool { return w.instance("web").Reason == "full" })
		w.fake.with(func() { full = false })
		w.untilState(cluster.Active, 1)
		if i := w.instance("web"); i.Reason != "" {
			t.Errorf("the reason is still %q", i.Reason)
		}
	})
}

func TestExited(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(1, "web")
		w.untilState(cluster.Active, 1)
		i := w.instance("web")
		w.fake.with(func() {
			have := w.fake.nodes[i.Node].instances[i.ID]
			code := 3
			have.State, have.ExitCode = cluster.Exited, &code
			w.fake.report(w.fake.nodes[i.Node], have)
		})
		w.untilState(cluster.Exited, 1)
		if i := w.instance("web"); i.ExitCode == nil || *i.ExitCode != 3 || i.Generation != 1 {
			t.Errorf("it is %+v", i)
		}
	})
}

func TestNodeLossAndReturn(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(3, "web")
		w.untilState(cluster.Active, 3)
		node := w.fake.order[0]
		lost := time.Now()
		w.fake.disconnect(node)
		w.untilState(cluster.Missing, 3)
		if took := time.Since(lost); took < 30*time.Second || took > 35*time.Second {
			t.Errorf("missing after %s", took)
		}
		if nodes, err := w.c.Nodes(w.ctx); err != nil || len(nodes) != 1 || nodes[0].State != cluster.NodeMissing || nodes[0].Running != 0 {
			t.Errorf("nodes are %+v, %v", nodes, err)
		}
		w.fake.reconnect(node)
		w.untilState(cluster.Active, 3)
		for _, i := range w.instances() {
			if i.Generation != 1 {
				t.Errorf("%s was started again", i.Name)
			}
		}
	})
}

// A node's operator gives it other labels by a restart of its launcher; a label that is too long is not kept.
func TestNodeLabels(t *testing.T) {
	inWorld(t, func(w *world) {
		for _, zone := range []string{"a", "b"} {
			w.fake.with(func() {
				node := w.fake.nodes[w.fake.order[0]]
				node.labels = map[string]string{"zone": zone, "long": strings.Repeat("l", cluster.MaxLabelValue+1)}
				w.fake.inventory(node)
			})
			w.until("the node is in zone "+zone, func() bool {
				node, err := w.c.Node(w.ctx, w.fake.order[0])
				return err == nil && maps.Equal(node.Labels, map[string]string{"zone": zone})
			})
		}
	})
}

func TestStrayIsExpelled(t *testing.T) {
	inWorld(t, func(w *world) {
		w.fake.with(func() {
			node := w.fake.nodes[w.fake.order[0]]
			node.instances["11111111-1111-4111-8111-111111111111"] = &fakeInstance{want: cluster.WantActive, InstanceReport: payload.InstanceReport{
				Instance: "11111111-1111-4111-8111-111111111111", Generation: 7, Kind: cluster.KindContainer, State: cluster.Active,
			}}
			w.fake.inventory(node)
		})
		w.until("the stray is gone", func() bool { return w.fake.held() == 0 })
	})
}

func TestVanishedInstanceIsStartedAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(2, "web")
		w.untilState(cluster.Active, 2)
		i := w.instance("web-2")
		w.fake.with(func() {
			node := w.fake.nodes[i.Node]
			delete(node.instances, i.ID)
			w.fake.inventory(node)
		})
		w.until("both live", func() bool { return w.fake.live() == 2 && w.count(cluster.Active) == 2 })
		if after := w.instance("web-2"); after.Generation != 1 || after.Node != i.Node {
			t.Errorf("it is %+v", after)
		}
	})
}

func TestCNCIFailureIsReadable(t *testing.T) {
	inWorld(t, func(w *world) {
		w.fake.with(func() {
			w.fake.onStart = func(_ string, s payload.Start) (cluster.State, string, bool) {
				if s.Kind == cluster.KindCNCI {
					return cluster.Failed, "no DHCP answer on the underlay", false
				}
				return "", "", false
			}
		})
		w.create(1, "web")
		w.untilState(cluster.Failed, 1)
		const want = "the network of its subnet 172.16.0.0/24 did not become ready: its CNCI is "
		if i := w.instance("web"); len(i.Reason) < len(want) || i.Reason[:len(want)] != want {
			t.Errorf("the reason is %q", i.Reason)
		}
		w.fake.with(func() { w.fake.onStart = nil })
		w.until("the CNCI recovers", func() bool {
			cncis, err := w.c.CNCIs(w.ctx, w.tenant.ID)
			return err == nil && len(cncis) == 1 && cncis[0].State == cluster.Active
		})
		if _, err := w.c.StartInstance(w.ctx, w.tenant.ID, "web"); err != nil {
			t.Fatal(err)
		}
		w.untilState(cluster.Active, 1)
	})
}

func TestIdleSubnetUsedAgainWhileItsCNCIGoes(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(1, "one")
		w.untilState(cluster.Active, 1)
		before, _ := w.c.CNCIs(w.ctx, w.tenant.ID)
		if _, err := w.c.DeleteInstance(w.ctx, w.tenant.ID, "one"); err != nil {
			t.Fatal(err)
		}
		w.untilGone()
		w.until("the CNCI is being deleted", func() bool {
			cncis, _ := w.c.CNCIs(w.ctx, w.tenant.ID)
			if len(cncis) == 1 && cncis[0].State == cluster.Deleting {
				w.create(1, "two")
				return true
			}
			if len(cncis) == 0 {
				w.create(1, "two")
				return true
			}
			return false
		})
		w.untilState(cluster.Active, 1)
		after, _ := w.c.CNCIs(w.ctx, w.tenant.ID)
		if len(after) != 1 || after[0].ID == before[0].ID {
			t.Errorf("CNCIs are %+v", after)
		}
	})
}

func TestCertificateOnlyForTheNodeOfTheCNCI(t *testing.T) {
	inWorld(t, func(w *world) {
		second := w.fake.addNode(2)
		w.create(1, "web")
		w.untilState(cluster.Active, 1)
		cncis, err := w.c.CNCIs(w.ctx, w.tenant.ID)
		if err != nil || len(cncis) != 1 {
			t.Fatal(cncis, err)
		}
		first := w.fake.order[0]
		if cncis[0].Node == second {
			first, second = second, first
		}
		answers := map[string]payload.Certificate{}
		w.fake.with(func() {
			w.fake.drop = func(_ int, f ssntp.Frame, toController bool) bool {
				if f.Operand == ssntp.Certificate {
					answers[f.Destination.String()+" "+decoded[payload.Certificate](f).Instance] = decoded[payload.Certificate](f)
				}
				return false
			}
			for _, node := range []string{first, second} {
				for _, id := range []string{cncis[0].ID, w.instance("web").ID} {
					w.fake.tell(node, ssntp.CertificateRequest, payload.CertificateRequest{Instance: id, CSR: []byte("csr")})
				}
			}
		})
		w.until("four answers", func() (all bool) { w.fake.with(func() { all = len(answers) == 4 }); return all })
		for key, answer := range answers {
			allowed := key == first+" "+cncis[0].ID
			if (answer.Refused == "") != allowed || (len(answer.Chain) > 0) != allowed {
				t.Errorf("%s is answered with %+v", key, answer)
			}
		}
	})
}
