package ssntp

import (
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// TestSilence: a peer that says nothing is given up after Limits.Silence in which
// this process could have heard it; what it was stopped or late for does not
// count.
func TestSilence(t *testing.T) {
	type look struct{ gap, late time.Duration } // since the look before, and after it was due
	const s = time.Second
	prompt := func(looks int) (all []look) {
		for range looks {
			all = append(all, look{gap: s})
		}
		return all
	}
	tests := map[string]struct {
		looks    []look
		heard    int // before which look something is read; 0: never
		gaveUpAt int // the look, from 1; 0: never
	}{
		"prompt":                       {looks: prompt(10), gaveUpAt: 6},
		"stopped for a minute":         {looks: append([]look{{gap: time.Minute, late: 59 * s}, {}}, prompt(10)...), gaveUpAt: 7},
		"heard after it was stopped":   {looks: append([]look{{gap: time.Minute, late: 59 * s}}, prompt(5)...), heard: 2},
		"each look three seconds late": {looks: []look{{4 * s, 3 * s}, {4 * s, 3 * s}, {4 * s, 3 * s}, {4 * s, 3 * s}, {4 * s, 3 * s}, {4 * s, 3 * s}}},
		"each look late by as much":    {looks: []look{{s, s / 2}, {s, s / 2}, {s, s / 2}, {s, s / 2}, {s, s / 2}, {s, s / 2}, {s, s / 2}}, gaveUpAt: 6},
		"a late look":                  {looks: append(prompt(5), look{s, 2 * s}), gaveUpAt: 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				here, there := net.Pipe()
				defer there.Close()
				limits := Limits{}.withDefaults()
				l := newLink(here, &limits)
				defer l.close(ErrClosed)
				l.setHeartbeat(limits.Heartbeat)
				l.expires = time.Now().Add(time.Hour)
				gaveUpAt := 0
				for i, look := range test.looks {
					time.Sleep(look.gap)
					if i+1 == test.heard {
						l.alive()
					}
					err := l.check(time.Now().Add(-look.late))
					if err != nil && !errors.Is(err, ErrSilent) {
						t.Fatal(err)
					}
					if err != nil {
						gaveUpAt = i + 1
						break
					}
				}
				if gaveUpAt != test.gaveUpAt {
					t.Errorf("given up at look %d, want %d", gaveUpAt, test.gaveUpAt)
				}
			})
		})
	}
}

// TestClientsWaitForTheirTurn: the more attempts have failed, the longer a client
// waits for an overloaded server; the first round of addresses is quick.
func TestClientsWaitForTheirTurn(t *testing.T) {
	c := Client{config: ClientConfig{Addresses: []string{"a:1", "b:1"}}, limits: Limits{}.withDefaults()}
	for failures, want := range []time.Duration{1: 5, 2: 5, 3: 10, 4: 10, 5: 20, 6: 20, 7: 40, 8: 40, 9: 40, 100: 40} {
		if c.failures = failures; want > 0 && c.handshakeTime() != want*time.Second {
			t.Errorf("attempt %d has %v, want %ds", failures, c.handshakeTime(), want)
		}
	}
}
