package ssntp_test

import (
	"context"
	"encoding/binary"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/ssntp"
	"github.com/ciaocloud/ciao/ssntp/ssntptest"
)

// slowHandler sends more from within its first frame than its queue holds,
// which only a connection that is read meanwhile lets go on.
type slowHandler struct {
	ssntp.Handler
	client  chan *ssntp.Client
	frames  int
	next    uint64
	working atomic.Int32
	begun   chan struct{}
	done    chan error
}

func (h *slowHandler) Receive(ctx context.Context, f ssntp.Frame) {
	if f.Operand != ssntp.Placed {
		return
	}
	if h.working.Add(1) != 1 {
		panic("two frames are handled at a time")
	}
	defer h.working.Add(-1)
	number := binary.BigEndian.Uint64(f.Payload)
	if number != h.next {
		panic("frames are handled out of order")
	}
	h.next++
	if number == 0 {
		close(h.begun)
		h.done <- h.sendMany(ctx)
	}
	if h.next == uint64(h.frames) {
		close(h.done)
	}
}

func (h *slowHandler) sendMany(ctx context.Context) error {
	client := <-h.client
	for range 4 * 64 {
		if err := client.Send(ctx, ssntp.Frame{Operand: ssntp.Place}); err != nil {
			return err
		}
	}
	return nil
}

// TestSlowHandlerDoesNotStopReading: a frame that comes alone is handled by
// whoever reads the connection, and yet the connection is read on.
func TestSlowHandlerDoesNotStopReading(t *testing.T) {
	small := func(c *ssntp.ServerConfig) {
		c.Limits = ssntp.Limits{Heartbeat: 50 * time.Millisecond, Silence: 250 * time.Millisecond, QueueFrames: 64, WindowFrames: 64}
	}
	hub := ssntptest.NewHub(t, small)
	const frames = 40
	slow := &slowHandler{
		Handler: new(ssntptest.Log).Handler(), client: make(chan *ssntp.Client, 1), frames: frames,
		begun: make(chan struct{}), done: make(chan error, 1),
	}
	config := hub.ClientConfig(ssntp.RoleController, slow)
	config.Limits.QueueFrames = 64
	controller, _ := ssntptest.RunClient(t, config)
	slow.client <- controller
	hub.Log.Connected(t)
	for i := range uint64(frames) {
		f := ssntp.Frame{Operand: ssntp.Placed, Destination: controller.Identity().ID, Payload: binary.BigEndian.AppendUint64(nil, i)}
		if err := hub.Server.Send(f); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			<-slow.begun // it came alone
		}
	}
	for range 2 { // sent within the handler, then all handled
		select {
		case err := <-slow.done:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(time.Minute):
			t.Fatal("the handler waits for what only reading brings")
		}
	}
	if dialled := hub.Network.Dialled(); dialled != 1 {
		t.Errorf("%d connections, want the first to last", dialled)
	}
}

// TestStopWaitsForTheReadersHandler: when a client has stopped, nothing is
// handled any more, whoever handles.
func TestStopWaitsForTheReadersHandler(t *testing.T) {
	hub := ssntptest.NewHub(t)
	begun, ended := make(chan struct{}), atomic.Bool{}
	controller, stop := ssntptest.RunClient(t, hub.ClientConfig(ssntp.RoleController, receiving{new(ssntptest.Log).Handler(), func(ctx context.Context) {
		close(begun)
		<-ctx.Done() // the client stops
		ended.Store(true)
	}}))
	hub.Log.Connected(t)
	if err := hub.Server.Send(ssntp.Frame{Operand: ssntp.Placed, Destination: controller.Identity().ID}); err != nil {
		t.Fatal(err)
	}
	<-begun
	stop()
	if !ended.Load() {
		t.Error("the client has stopped, and its handler works on")
	}
}

type receiving struct {
	ssntp.Handler
	receive func(context.Context)
}

func (r receiving) Receive(ctx context.Context, _ ssntp.Frame) { r.receive(ctx) }

// TestIdleSessionsAreCheap: a hub has two goroutines for each peer that does
// nothing, also after it has done something.
func TestIdleSessionsAreCheap(t *testing.T) {
	const peers = 20
	hub := ssntptest.NewHub(t)
	before := runtime.NumGoroutine()
	for range peers {
		peer := joined(t, hub, ssntp.RoleAgent)
		for n := range uint64(3) {
			if err := peer.Send(ssntptest.To(ssntp.Ready, n+1, ssntp.ID{}, "")); err != nil {
				t.Fatal(err)
			}
			hub.Log.Frame(t, ssntp.Ready)
		}
	}
	waitFor(t, func() bool { return runtime.NumGoroutine() <= before+2*peers })
}
