package ssntp_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/ssntp"
	"github.com/ciaocloud/ciao/ssntp/ssntptest"
)

// quick shortens the waits between attempts, for tests that cut connections.
func quick(c *ssntp.ServerConfig) {
	c.Limits.RetryMin = time.Millisecond
	c.Limits.RetryMax = 5 * time.Millisecond
	c.Limits.Resume = time.Minute
}

func TestFrameFromClientToOwner(t *testing.T) {
	hub := ssntptest.NewHub(t)
	agent, _ := hub.Client(t, ssntp.RoleAgent)
	if got := hub.Log.Connected(t).Peer; got != agent.Identity() {
		t.Errorf("connected %v, want %v", got, agent.Identity())
	}
	if err := agent.Send(t.Context(), ssntp.Frame{Operand: ssntp.Ready, Payload: []byte("room")}); err != nil {
		t.Fatal(err)
	}
	f := hub.Log.Frame(t, ssntp.Ready)
	if f.Source != agent.Identity().ID || string(f.Payload) != "room" {
		t.Errorf("got %+v", f)
	}
}

func TestFrameThroughHub(t *testing.T) {
	hub := ssntptest.NewHub(t)
	agent, atAgent := hub.Client(t, ssntp.RoleAgent)
	controller, atController := hub.Client(t, ssntp.RoleController)
	_, atOther := hub.Client(t, ssntp.RoleController)

	start := ssntp.Frame{Operand: ssntp.Start, Destination: agent.Identity().ID, Payload: []byte("do")}
	if err := controller.Send(t.Context(), start); err != nil {
		t.Fatal(err)
	}
	f := atAgent.Frame(t, ssntp.Start)
	if f.Source != controller.Identity().ID || string(f.Payload) != "do" {
		t.Errorf("the agent got %+v", f)
	}
	if err := agent.Send(t.Context(), ssntp.Frame{Operand: ssntp.InstanceState, Payload: []byte("done")}); err != nil {
		t.Fatal(err)
	}
	for _, log := range []*ssntptest.Log{atController, atOther} {
		if f := log.Frame(t, ssntp.InstanceState); f.Source != agent.Identity().ID || string(f.Payload) != "done" {
			t.Errorf("a controller got %+v", f)
		}
	}
}

// counter checks that numbered payloads arrive in order, each once.
type counter struct {
	mu    sync.Mutex
	next  uint64
	bad   error
	want  uint64
	ended bool
	all   chan struct{}
}

func newCounter(want uint64) *counter { return &counter{want: want, all: make(chan struct{})} }

func (c *counter) take(payload []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	got := binary.BigEndian.Uint64(payload)
	switch {
	case c.bad != nil:
	case got != c.next:
		c.end(fmt.Errorf("got number %d, want %d", got, c.next))
	default:
		if c.next++; c.next == c.want {
			c.end(nil)
		}
	}
}

// fail gives up, unless everything has arrived: a receiver that closes may be
// too late to acknowledge what it has taken, and the sender is told so.
func (c *counter) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ended {
		c.end(err)
	}
}

// end closes all once; c.mu is held.
func (c *counter) end(err error) {
	c.bad = err
	if !c.ended {
		c.ended = true
		close(c.all)
	}
}

func (c *counter) wait(t *testing.T) {
	t.Helper()
	select {
	case <-c.all:
	case <-time.After(2 * time.Minute):
		c.mu.Lock()
		t.Fatalf("only %d of %d frames arrived", c.next, c.want)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bad != nil {
		t.Error(c.bad)
	}
}

// counting counts what arrives, and fails the counter of what it sends itself
// when that is refused.
type counting struct {
	ssntp.Handler
	counter, sent *counter
}

func (c counting) Receive(_ context.Context, f ssntp.Frame) {
	if f.Operand == ssntp.Undeliverable {
		refusal, err := ssntp.ParseRefusal(f.Payload)
		c.sent.fail(fmt.Errorf("refused: %s (%w)", refusal.Reason, err))
		return
	}
	c.counter.take(f.Payload)
}

// TestBurstOfReconnects streams both ways through the hub while the network
// cuts every connection again and again.
func TestBurstOfReconnects(t *testing.T) {
	const frames, cuts = 20_000, 60
	hub := ssntptest.NewHub(t, quick)
	down, up := newCounter(frames), newCounter(frames)
	agent, _ := ssntptest.RunClient(t, hub.ClientConfig(ssntp.RoleAgent, counting{new(ssntptest.Log).Handler(), down, up}))
	controller, _ := ssntptest.RunClient(t, hub.ClientConfig(ssntp.RoleController, counting{new(ssntptest.Log).Handler(), up, down}))
	hub.Log.Connected(t)
	hub.Log.Connected(t)

	var wg sync.WaitGroup
	stream := func(from *ssntp.Client, to *ssntp.Client, operand ssntp.Operand, at *counter) {
		for i := range uint64(frames) {
			f := ssntp.Frame{Operand: operand, Destination: to.Identity().ID, Payload: binary.BigEndian.AppendUint64(nil, i)}
			// The queue bounds the stream, and what of it is handled may not be known
			// to the hub, when acknowledgements are cut off.
			if i%100 == 0 {
				waitFor(t, func() bool { return at.behind(i) < 1000 })
			}
			if err := from.Send(t.Context(), f); err != nil {
				t.Errorf("send %d: %v", i, err)
				return
			}
		}
	}
	wg.Go(func() { stream(controller, agent, ssntp.Start, down) })
	wg.Go(func() { stream(agent, controller, ssntp.InstanceState, up) })
	for n := range uint64(cuts) {
		waitFor(t, func() bool { return down.count() > n*frames/cuts || up.count() > n*frames/cuts })
		before := hub.Network.Dialled()
		if hub.Network.Cut() > 0 {
			waitFor(t, func() bool { return hub.Network.Dialled() > before })
		}
	}
	down.wait(t)
	up.wait(t)
	wg.Wait()
	t.Logf("%d connections", hub.Network.Dialled())
}

func (c *counter) behind(sent uint64) uint64 { return sent - min(sent, c.count()) }

func (c *counter) count() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.next
}

// waitFor polls a condition with a generous deadline.
func waitFor(t *testing.T, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Error("waited in vain")
			return
		}
	}
}
