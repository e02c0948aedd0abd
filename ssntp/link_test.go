package ssntp

import (
	"errors"
	"net"
	"testing"
	"time"
)

// TestStalledProcessFindsNobodySilent: however long this process was stopped, it
// listens again before it gives anybody up.
func TestStalledProcessFindsNobodySilent(t *testing.T) {
	here, there := net.Pipe()
	defer there.Close()
	limits := Limits{}.withDefaults()
	l := newLink(here, &limits)
	defer l.close(ErrClosed)
	l.setHeartbeat(limits.Heartbeat)
	l.expires = time.Now().Add(time.Hour)
	l.opened = l.opened.Add(-time.Minute) // nothing was read for a minute
	looks := 1
	err := l.check()
	for ; err == nil && looks < 10; looks++ {
		err = l.check()
	}
	if !errors.Is(err, ErrSilent) || looks < 4 || looks > 6 {
		t.Errorf("given up after %d looks: %v", looks, err)
	}
	l.alive()
	if err := l.check(); err != nil {
		t.Errorf("given up although it was heard of: %v", err)
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
