package controller

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/ssntp"
)

// overdue is a world with one instance that is active, so that the network of the others is there.
func overdue(t *testing.T, story func(w *world)) {
	t.Helper()
	inWorld(t, func(w *world) {
		w.create(1, "first")
		w.untilState(cluster.Active, 1)
		story(w)
	})
}

// starts counts the starts of instances that are sent from now on.
func (w *world) starts() func() map[string]int { return w.commands(ssntp.Start) }

// commands counts those of an operand that are sent from now on, by instance.
func (w *world) commands(operand ssntp.Operand) func() map[string]int {
	counts := map[string]int{}
	w.fake.with(func() {
		drop := w.fake.drop
		w.fake.drop = func(n int, f ssntp.Frame, toController bool) bool {
			if f.Operand == operand {
				counts[decoded[payload.Delete](f).Instance]++ // Start, Stop and Delete have it in common
			}
			return drop != nil && drop(n, f, toController)
		}
	})
	return func() (now map[string]int) {
		w.fake.with(func() {
			now = map[string]int{}
			for id, n := range counts {
				now[id] = n
			}
		})
		return now
	}
}

// onlyOnce wants each instance to have been sent one command.
func onlyOnce(t *testing.T, commands map[string]int, want int) {
	t.Helper()
	if len(commands) != want {
		t.Errorf("%d instances were sent a command, want %d", len(commands), want)
	}
	for id, n := range commands {
		if n != 1 {
			t.Errorf("%s was sent its command %d times", id, n)
		}
	}
}

// A hub that needs nine seconds to pass on what all nodes answer does not get the commands again meanwhile.
func TestBusyHubIsNotSentMore(t *testing.T) {
	overdue(t, func(w *world) {
		w.fake.with(func() { w.fake.slow = 150 * time.Millisecond })
		busy := func(operand ssntp.Operand, wanted int, ask func(), done func()) {
			t.Helper()
			commands, before, begun := w.commands(operand), w.c.Counters(), time.Now()
			ask()
			done()
			if took := time.Since(begun); took < 9*time.Second {
				t.Fatalf("%s: the hub needed only %v", operand, took)
			}
			onlyOnce(t, commands(), wanted)
			if n := w.c.Counters(); n.Questions == before.Questions || n.Questions > before.Questions+5 || len(n.Repeated) > 0 {
				t.Errorf("%s: %d questions, repeated: %v", operand, n.Questions-before.Questions, n.Repeated)
			}
		}
		busy(ssntp.Start, 60, func() { w.create(60, "many") }, func() { w.untilState(cluster.Active, 61) })
		busy(ssntp.Stop, 61, func() {
			for _, i := range w.instances() {
				if _, err := w.c.StopInstance(w.ctx, w.tenant.ID, i.ID); err != nil {
					t.Fatal(err)
				}
			}
		}, func() { w.untilState(cluster.Stopped, 61) })
		busy(ssntp.Delete, 61, func() {
			if _, err := w.c.DeleteInstances(w.ctx, Operator, InstanceFilter{}); err != nil {
				t.Fatal(err)
			}
		}, w.untilGone)
	})
}

// What takes a node long is not sent to it again.
func TestSlowStartIsNotSentAgain(t *testing.T) {
	overdue(t, func(w *world) {
		starts := w.starts()
		w.fake.with(func() {
			w.fake.onStart = func(string, payload.Start) (cluster.State, string, bool) { return cluster.Starting, "", false }
		})
		before := w.c.Counters().Questions
		w.create(20, "slow")
		time.Sleep(2 * time.Minute)
		w.fake.with(func() {
			for _, node := range w.fake.nodes {
				for _, i := range node.instances {
					i.State = cluster.Active
					w.fake.report(node, i)
				}
			}
		})
		w.untilState(cluster.Active, 21)
		onlyOnce(t, starts(), 20)
		if asked := w.c.Counters().Questions - before; asked == 0 || asked > 10 {
			t.Errorf("the node was asked %d times in two minutes", asked)
		}
	})
}

// A start that is lost is sent again when its answer is overdue, as any other command; what of its answers is lost is asked for.
func TestLostStartIsMissedInTime(t *testing.T) {
	for _, test := range []struct {
		name  string
		lost  func(f ssntp.Frame) bool
		limit time.Duration
	}{
		{"the start", func(f ssntp.Frame) bool { return f.Operand == ssntp.Start }, 5500 * time.Millisecond},
		{"the word that it is accepted", reports(cluster.Starting), 5500 * time.Millisecond},
		{"the word that it is active", reports(cluster.Active), 15500 * time.Millisecond},
	} {
		t.Run(test.name, func(t *testing.T) {
			overdue(t, func(w *world) {
				lost := false
				w.fake.with(func() {
					w.fake.drop = func(_ int, f ssntp.Frame, _ bool) bool {
						if lost || !test.lost(f) {
							return false
						}
						lost = true
						return true
					}
				})
				w.create(1, "second")
				begun := time.Now()
				w.untilState(cluster.Active, 2)
				if took := time.Since(begun); !lost || took > test.limit {
					t.Errorf("lost: %t; active after %v, want at most %v", lost, took, test.limit)
				}
			})
		})
	}
}

// A stop and a deletion that are lost, or whose answer is, are sent again when the node turns out not to have got them.
func TestLostEndIsMissedInTime(t *testing.T) {
	for _, test := range []struct {
		name string
		lost func(f ssntp.Frame) bool
		end  func(w *world) error
		done func(w *world) bool
		sent map[ssntp.Operand]int
	}{
		{"the stop", func(f ssntp.Frame) bool { return f.Operand == ssntp.Stop }, (*world).stopSecond, (*world).secondStopped, map[ssntp.Operand]int{ssntp.Stop: 2}},
		{"the word that it stops", reports(cluster.Stopping), (*world).stopSecond, (*world).secondStopped, map[ssntp.Operand]int{ssntp.Stop: 1}},
		{"the word that it has stopped", reports(cluster.Stopped), (*world).stopSecond, (*world).secondStopped, map[ssntp.Operand]int{ssntp.Stop: 1}},
		{"the deletion", func(f ssntp.Frame) bool { return f.Operand == ssntp.Delete }, (*world).deleteSecond, (*world).secondGone, map[ssntp.Operand]int{ssntp.Delete: 2}},
		{"the word that it is gone", reports(cluster.Gone), (*world).deleteSecond, (*world).secondGone, map[ssntp.Operand]int{ssntp.Delete: 2}},
	} {
		t.Run(test.name, func(t *testing.T) {
			overdue(t, func(w *world) {
				w.create(1, "second")
				w.untilState(cluster.Active, 2)
				lost, sent := false, map[ssntp.Operand]int{}
				w.fake.with(func() {
					w.fake.drop = func(_ int, f ssntp.Frame, _ bool) bool {
						if f.Operand == ssntp.Stop || f.Operand == ssntp.Delete {
							sent[f.Operand]++
						}
						if lost || !test.lost(f) {
							return false
						}
						lost = true
						return true
					}
				})
				if err := test.end(w); err != nil {
					t.Fatal(err)
				}
				begun := time.Now()
				w.until(test.name, func() bool { return test.done(w) })
				w.fake.with(func() {
					if took := time.Since(begun); !lost || took > 15500*time.Millisecond || !maps.Equal(sent, test.sent) {
						t.Errorf("lost: %t; done after %v; sent %v, want %v", lost, took, sent, test.sent)
					}
				})
			})
		})
	}
}

func (w *world) stopSecond() error {
	_, err := w.c.StopInstance(w.ctx, w.tenant.ID, "second")
	return err
}

func (w *world) deleteSecond() error {
	_, err := w.c.DeleteInstance(w.ctx, w.tenant.ID, "second")
	return err
}

func (w *world) secondStopped() bool { return w.count(cluster.Stopped) == 1 }
func (w *world) secondGone() bool    { return len(w.instances()) == 1 }

func reports(state cluster.State) func(ssntp.Frame) bool {
	return func(f ssntp.Frame) bool {
		return f.Operand == ssntp.InstanceState && decoded[payload.InstanceReport](f).State == state
	}
}

// A node that takes commands in and answers nothing gets each start once, and the user is told why nothing happens. When it works again it
// says what it has.
func TestSilentNodeIsAsked(t *testing.T) {
	overdue(t, func(w *world) {
		deaf := true
		w.fake.with(func() {
			w.fake.drop = func(_ int, f ssntp.Frame, _ bool) bool {
				return deaf && (f.Operand == ssntp.Start || f.Operand == ssntp.RequestInventory)
			}
		})
		starts := w.starts()
		w.create(10, "unheard")
		w.until("the reason is told", func() bool {
			told := 0
			for _, i := range w.instances() {
				if strings.Contains(i.Reason, "has not answered the command to start") {
					told++
				}
			}
			return told == 10
		})
		onlyOnce(t, starts(), 10)
		w.fake.with(func() { deaf = false })
		begun := time.Now()
		w.untilState(cluster.Active, 11)
		if took := time.Since(begun); took > 35*time.Second {
			t.Errorf("active %v after the node works again", took)
		}
		for id, n := range starts() {
			if n != 2 { // the first one was lost
				t.Errorf("the start of %s was sent %d times", id, n)
			}
		}
	})
}
