package tap_test

import (
	"context"
	"net"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/ciaocloud/ciao/ssntp"
	"github.com/ciaocloud/ciao/ssntp/ssntptest"
	"github.com/ciaocloud/ciao/ssntp/tap"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// watched is a server that says when it is tapped, and when no more.
type watched struct {
	server *ssntp.Server
	tapped chan bool
}

func (w watched) set(visit func(ssntp.Tapped)) {
	w.server.SetTap(visit)
	w.tapped <- visit != nil
}

func serve(t *testing.T, hub *ssntptest.Hub) (watched, func() net.Conn) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tap")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	w := watched{hub.Server, make(chan bool, 8)}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := tap.New(w.set).Run(ctx, listener); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { stop(); running.Wait() })
	return w, func() net.Conn {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
}

// TestTap: a viewer sees what passes the hub, what the hub sends, and what it
// refuses; the hub is tapped only meanwhile.
func TestTap(t *testing.T) {
	hub := ssntptest.NewHub(t)
	agent, atAgent := hub.Client(t, ssntp.RoleAgent)
	controller, atController := hub.Client(t, ssntp.RoleController)
	w, dial := serve(t, hub)
	ctx, stop := context.WithCancel(t.Context())
	records := make(chan tap.Record, 16)
	var viewing sync.WaitGroup
	viewing.Go(func() {
		for r, err := range tap.Follow(ctx, dial()) {
			if err != nil {
				t.Error(err)
			}
			records <- r
		}
	})
	if !<-w.tapped {
		t.Error("the hub is not tapped")
	}
	trace := &ssntp.Trace{TraceID: [16]byte{1}, ParentID: [8]byte{2}, Flags: 1}
	absent := ssntp.NewID()
	for _, f := range []ssntp.Frame{
		{Operand: ssntp.Start, Destination: agent.Identity().ID, Payload: make([]byte, 512), Trace: trace},
		{Operand: ssntp.Stop, Destination: absent, Payload: []byte("12345")},
	} {
		if err := controller.Send(t.Context(), f); err != nil {
			t.Fatal(err)
		}
	}
	atAgent.Frame(t, ssntp.Start)
	atController.Frame(t, ssntp.Undeliverable)
	if err := hub.Server.Send(ssntp.Frame{Operand: ssntp.NodeConnected, Payload: []byte("123")}); err != nil {
		t.Fatal(err)
	}
	from, self := controller.Identity().ID.String(), hub.ID.String()
	for _, want := range []tap.Record{
		{From: from, Roles: "controller", To: agent.Identity().ID.String(), Operand: "Start", Bytes: 512, Message: 1, Trace: trace.Traceparent()},
		{From: from, Roles: "controller", To: absent.String(), Operand: "Stop", Bytes: 5, Message: 2},
		{From: self, Roles: "scheduler", To: from, Operand: "Undeliverable", Bytes: 28 + len("the destination is not connected") + 5},
		{From: self, Roles: "scheduler", Operand: "NodeConnected", Bytes: 3},
	} {
		got := <-records
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(tap.Record{}, "Time")); diff != "" || got.Time.IsZero() {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	stop()
	viewing.Wait()
	if <-w.tapped {
		t.Error("the hub is tapped without a viewer")
	}
}

// scarce is a listener that has run out of file descriptors once.
type scarce struct {
	net.Listener
	once sync.Once
}

func (s *scarce) Accept() (conn net.Conn, err error) {
	s.once.Do(func() { err = &net.OpError{Op: "accept", Err: syscall.EMFILE} })
	if err != nil {
		return nil, err
	}
	return s.Listener.Accept()
}

// TestTapOutlivesAFailure: a hub goes on without file descriptors, and its tap must not end it.
func TestTapOutlivesAFailure(t *testing.T) {
	listener, err := net.Listen("unix", filepath.Join(t.TempDir(), "tap"))
	if err != nil {
		t.Fatal(err)
	}
	tapped := make(chan bool, 2)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- tap.New(func(visit func(ssntp.Tapped)) { tapped <- visit != nil }).Run(ctx, &scarce{Listener: listener})
	}()
	viewer, err := net.Dial("unix", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer viewer.Close()
	select {
	case <-tapped: // the viewer was let in
	case err := <-ended:
		t.Fatalf("it has ended: %v", err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
