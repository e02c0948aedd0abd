package controller

import (
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
func (w *world) starts() func() map[string]int {
	counts := map[string]int{}
	w.fake.with(func() {
		drop := w.fake.drop
		w.fake.drop = func(n int, f ssntp.Frame, toController bool) bool {
			if f.Operand == ssntp.Start {
				counts[decoded[payload.Start](f).Instance]++
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

// onlyOnce wants each instance to have been started once.
func onlyOnce(t *testing.T, starts map[string]int, want int) {
	t.Helper()
	if len(starts) != want {
		t.Errorf("%d instances were started, want %d", len(starts), want)
	}
	for id, n := range starts {
		if n != 1 {
			t.Errorf("the start of %s was sent %d times", id, n)
		}
	}
}

// A hub that needs nine seconds to pass on what all nodes answer does not get the starts again meanwhile.
func TestBusyHubIsNotSentMore(t *testing.T) {
	overdue(t, func(w *world) {
		starts := w.starts()
		w.fake.with(func() { w.fake.slow = 150 * time.Millisecond })
		w.create(60, "many")
		begun := time.Now()
		w.untilState(cluster.Active, 61)
		if took := time.Since(begun); took < 9*time.Second {
			t.Fatalf("the hub needed only %v", took)
		}
		onlyOnce(t, starts(), 60)
		if n := w.c.Counters(); n.Questions == 0 || n.Questions > 5 || n.Repeated["Start"] > 0 {
			t.Errorf("%d questions, repeated: %v", n.Questions, n.Repeated)
		}
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
