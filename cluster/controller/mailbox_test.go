package controller

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/ssntp"
)

func reportOf(node byte, instance string, state cluster.State) message {
	return message{
		frame:  ssntp.Frame{Operand: ssntp.InstanceState, Source: ssntp.ID{node}},
		report: &payload.InstanceReport{Instance: instance, State: state},
	}
}

func frameOf(node byte, operand ssntp.Operand) message {
	return message{frame: ssntp.Frame{Operand: operand, Source: ssntp.ID{node}}}
}

// all empties a mailbox.
func (b *mailbox) all() (texts []string) {
	for m, ok := b.take(); ok; m, ok = b.take() {
		text := fmt.Sprint(m.frame.Source[0], " ", m.frame.Operand)
		if m.report != nil {
			text = fmt.Sprint(m.frame.Source[0], " ", m.report.Instance, " ", m.report.State)
		}
		texts = append(texts, text)
	}
	return texts
}

func TestMailboxKeepsTheNewestReport(t *testing.T) {
	for name, test := range map[string]struct {
		posted []message
		want   []string
	}{
		"of an instance": {
			[]message{reportOf(1, "a", cluster.Starting), reportOf(1, "b", cluster.Starting), reportOf(1, "a", cluster.Active)},
			[]string{"1 a active", "1 b starting"},
		},
		"of each node": {
			[]message{reportOf(1, "a", cluster.Failed), reportOf(2, "a", cluster.Active)},
			[]string{"1 a failed", "2 a active"},
		},
		"sign of life": {
			[]message{frameOf(1, ssntp.Progress), frameOf(2, ssntp.Progress), frameOf(1, ssntp.Statistics)},
			[]string{"1 Statistics", "2 Progress"},
		},
		"across a status": {
			[]message{reportOf(1, "a", cluster.Starting), frameOf(1, ssntp.Full), reportOf(1, "a", cluster.Active)},
			[]string{"1 a active", "1 Full"},
		},
		"not across an inventory": {
			[]message{reportOf(1, "a", cluster.Starting), frameOf(1, ssntp.Inventory), reportOf(1, "a", cluster.Active), reportOf(1, "a", cluster.Exited)},
			[]string{"1 a starting", "1 Inventory", "1 a exited"},
		},
		"not across a loss": {
			[]message{reportOf(1, "a", cluster.Starting), frameOf(9, ssntp.NodeDisconnected), reportOf(1, "a", cluster.Active)},
			[]string{"1 a starting", "9 NodeDisconnected", "1 a active"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newMailbox()
			for _, m := range test.posted {
				b.post(t.Context(), m)
			}
			if diff := cmp.Diff(test.want, b.all()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What has been taken is not replaced.
func TestMailboxAfterTaking(t *testing.T) {
	b := newMailbox()
	b.post(t.Context(), reportOf(1, "a", cluster.Starting))
	b.post(t.Context(), reportOf(1, "b", cluster.Starting))
	if m, ok := b.take(); !ok || m.report.Instance != "a" {
		t.Fatalf("took %v, %t", m, ok)
	}
	b.post(t.Context(), reportOf(1, "a", cluster.Active))
	b.post(t.Context(), reportOf(1, "b", cluster.Active))
	if diff := cmp.Diff([]string{"1 b active", "1 a active"}, b.all()); diff != "" {
		t.Error(diff)
	}
}

// A mailbox is behind by the age of what waits longest, also when a newer word has taken its place.
func TestMailboxKnowsHowFarBehindItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newMailbox()
		behind := func(want time.Duration) {
			t.Helper()
			if got := b.behind(time.Now()); got != want {
				t.Errorf("it is %s behind, want %s", got, want)
			}
		}
		behind(0)
		b.post(t.Context(), reportOf(1, "a", cluster.Starting))
		time.Sleep(time.Second)
		b.post(t.Context(), reportOf(1, "b", cluster.Starting))
		b.post(t.Context(), reportOf(1, "a", cluster.Active))
		time.Sleep(time.Second)
		behind(2 * time.Second)
		b.take()
		behind(time.Second)
		b.take()
		behind(0)
	})
}

// A full mailbox holds its senders back until there is room, or it is closed.
func TestMailboxIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newMailbox()
		for range mailboxSize {
			b.post(t.Context(), frameOf(1, ssntp.Inventory))
		}
		posted := 0
		go func() {
			for range 2 {
				b.post(t.Context(), frameOf(2, ssntp.Inventory))
				posted++
			}
		}()
		synctest.Wait()
		if posted > 0 {
			t.Error("a full mailbox took a message")
		}
		b.take()
		synctest.Wait()
		if posted != 1 {
			t.Errorf("with room for one, it took %d", posted)
		}
		b.close()
		synctest.Wait()
		if posted != 2 {
			t.Error("a closed mailbox holds its sender")
		}
	})
}
