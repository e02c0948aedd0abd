package ssntp_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ciaocloud/ciao/ssntp"
	"github.com/ciaocloud/ciao/ssntp/ssntptest"
)

func send(t *testing.T, c *ssntp.Client, f ssntp.Frame) {
	t.Helper()
	if err := c.Send(t.Context(), f); err != nil {
		t.Fatal(err)
	}
}

// TestHalfOpenPeer: the machine of the other side loses power.
func TestHalfOpenPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := ssntptest.NewHub(t)
		client, log := hub.Client(t, ssntp.RoleAgent)
		time.Sleep(30 * time.Second)
		if events := log.Pending(); len(events) > 0 {
			t.Fatalf("an idle connection saw %v", events)
		}
		hub.Network.Freeze()
		start := time.Now()
		send(t, client, ssntp.Frame{Operand: ssntp.Ready, Payload: []byte("sent into the void")})
		if reason := log.Disconnected(t).Reason; !errors.Is(reason, ssntp.ErrSilent) {
			t.Errorf("disconnected: %v", reason)
		}
		if took := time.Since(start); took > 8*time.Second {
			t.Errorf("found out after %v", took)
		}
		if !log.Connected(t).Resumed {
			t.Error("the session was not resumed")
		}
		hub.Log.Frame(t, ssntp.Ready)
	})
}

func TestSessionEndsWhenPeerDoesNotReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := ssntptest.NewHub(t)
		agent, _ := hub.Client(t, ssntp.RoleAgent)
		controller, atController := hub.Client(t, ssntp.RoleController)
		hub.Network.Freeze()
		hub.Network.SetDown(true)
		start := time.Now()
		for range 2 {
			hub.Log.Disconnected(t)
		}
		if took := time.Since(start); took < 5*time.Second || took > 15*time.Second {
			t.Errorf("gave up after %v", took)
		}
		if peers := hub.Server.Peers(); len(peers) != 0 {
			t.Errorf("the table holds %v", peers)
		}
		err := hub.Server.Send(ssntp.Frame{Operand: ssntp.Placed, Destination: controller.Identity().ID})
		if !errors.Is(err, ssntp.ErrUndeliverable) {
			t.Errorf("send to an absent peer: %v", err)
		}
		hub.Network.SetDown(false)
		if atController.Connected(t).Resumed {
			t.Error("a session that had ended was resumed")
		}
		_ = agent
	})
}

func TestServerRestart(t *testing.T) {
	hub := ssntptest.NewHub(t, quick)
	client, log := hub.Client(t, ssntp.RoleAgent)
	send(t, client, ssntp.Frame{Operand: ssntp.Ready, Payload: []byte("before")})
	hub.Log.Frame(t, ssntp.Ready)
	hub.Restart(t, quick)
	send(t, client, ssntp.Frame{Operand: ssntp.Full, Payload: []byte("after")})
	if log.Connected(t).Resumed {
		t.Error("a new server process resumed a session it cannot know")
	}
	hub.Log.Frame(t, ssntp.Full)
}

func TestSecondProcessTakesOver(t *testing.T) {
	hub := ssntptest.NewHub(t, quick)
	certificate := hub.CA.Certificate(ssntp.NewID(), ssntp.RoleAgent)
	first, second := new(ssntptest.Log), new(ssntptest.Log)
	old, err := ssntp.NewClient(hub.ClientConfigFor(certificate, first.Handler()))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	ended := make(chan error, 1)
	wg.Go(func() { ended <- old.Run(t.Context()) })
	first.Connected(t)
	ssntptest.RunClient(t, hub.ClientConfigFor(certificate, second.Handler()))
	second.Connected(t)
	select {
	case err := <-ended:
		if !errors.Is(err, ssntp.ErrSuperseded) {
			t.Errorf("the first process ended with %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Error("the first process goes on")
	}
	for _, want := range []string{"connected", "disconnected", "connected"} {
		if e := hub.Log.Next(t); e.What != want {
			t.Errorf("the owner saw %v, want %s", e, want)
		}
	}
	if peers := hub.Server.Peers(); len(peers) != 1 {
		t.Errorf("the table holds %v", peers)
	}
}

func TestUndeliverable(t *testing.T) {
	hub := ssntptest.NewHub(t)
	controller, log := hub.Client(t, ssntp.RoleController)
	absent := ssntp.NewID()
	send(t, controller, ssntp.Frame{Operand: ssntp.Start, Destination: absent, Payload: []byte("recipe")})
	refusal, err := ssntp.ParseRefusal(log.Frame(t, ssntp.Undeliverable).Payload)
	if err != nil || refusal.Operand != ssntp.Start || refusal.Destination != absent || string(refusal.Payload) != "recipe" || refusal.Message != 1 {
		t.Errorf("got %+v, %v", refusal, err)
	}
}

// blocking is a handler that does not return until it may.
type blocking struct {
	ssntp.Handler
	gate chan struct{}
}

func (b blocking) Receive(ctx context.Context, f ssntp.Frame) {
	select {
	case <-b.gate:
	case <-ctx.Done():
	}
	b.Handler.Receive(ctx, f)
}

// TestSlowReaderAmongFastOnes: its queue fills, its senders are told, the
// others notice nothing, and it gets what was queued once it goes on.
func TestSlowReaderAmongFastOnes(t *testing.T) {
	hub := ssntptest.NewHub(t, func(c *ssntp.ServerConfig) {
		c.Limits.QueueFrames, c.Limits.WindowFrames = 40, 10
	})
	slowLog, gate := new(ssntptest.Log), make(chan struct{})
	slow, _ := ssntptest.RunClient(t, hub.ClientConfig(ssntp.RoleAgent, blocking{slowLog.Handler(), gate}))
	slowLog.Connected(t)
	fast, fastLog := hub.Client(t, ssntp.RoleAgent)
	controller, log := hub.Client(t, ssntp.RoleController)
	for i := range 100 {
		for _, to := range []*ssntp.Client{slow, fast} {
			send(t, controller, ssntp.Frame{Operand: ssntp.Start, Destination: to.Identity().ID, Payload: fmt.Append(nil, i)})
		}
		if f := fastLog.Frame(t, ssntp.Start); string(f.Payload) != fmt.Sprint(i) {
			t.Fatalf("the fast peer got %q, want %d", f.Payload, i)
		}
	}
	for range 60 {
		refusal, err := ssntp.ParseRefusal(log.Frame(t, ssntp.Undeliverable).Payload)
		if err != nil || refusal.Destination != slow.Identity().ID {
			t.Fatalf("got %+v, %v", refusal, err)
		}
	}
	close(gate)
	for i := range 40 {
		if f := slowLog.Frame(t, ssntp.Start); string(f.Payload) != fmt.Sprint(i) {
			t.Fatalf("the slow peer got %q, want %d", f.Payload, i)
		}
	}
}

// TestSendBlocksWhileQueueIsFull and goes on when there is room.
func TestSendBlocksWhileQueueIsFull(t *testing.T) {
	hub := ssntptest.NewHub(t, func(c *ssntp.ServerConfig) { c.Limits.QueueFrames = 3 })
	client, err := ssntp.NewClient(hub.ClientConfig(ssntp.RoleAgent, new(ssntptest.Log).Handler()))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		send(t, client, ssntp.Frame{Operand: ssntp.Ready})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := client.Send(ctx, ssntp.Frame{Operand: ssntp.Ready}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("send into a full queue: %v", err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { send(t, client, ssntp.Frame{Operand: ssntp.Full}) })
	running, stop := context.WithCancel(t.Context())
	var runner sync.WaitGroup
	runner.Go(func() { _ = client.Run(running) })
	hub.Log.Frame(t, ssntp.Full)
	wg.Wait()
	stop()
	runner.Wait()
	if err := client.Send(t.Context(), ssntp.Frame{Operand: ssntp.Ready}); !errors.Is(err, ssntp.ErrClosed) {
		t.Errorf("send after the end: %v", err)
	}
}

// TestRenewal: certificates of one minute are renewed on the way, the session
// never notices, and the last one ends the connection.
func TestRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := ssntptest.NewHub(t)
		var mu sync.Mutex
		id, renewals := ssntp.NewID(), 0
		latest := hub.CA.CertificateFor(id, ssntp.RoleAgent, time.Minute)
		log := new(ssntptest.Log)
		config := hub.ClientConfigFor(latest, log.Handler())
		config.Certificate = func() (*tls.Certificate, error) {
			mu.Lock()
			defer mu.Unlock()
			if renewals < 3 && time.Until(latest.Leaf.NotAfter) < 25*time.Second {
				renewals++
				latest = hub.CA.CertificateFor(id, ssntp.RoleAgent, time.Minute)
			}
			return latest, nil
		}
		client, _ := ssntptest.RunClient(t, config)
		log.Connected(t)
		start := time.Now()
		for i := range 15 {
			time.Sleep(10 * time.Second)
			send(t, client, ssntp.Frame{Operand: ssntp.Ready, Payload: fmt.Append(nil, i)})
			if f := hub.Log.Frame(t, ssntp.Ready); string(f.Payload) != fmt.Sprint(i) {
				t.Fatalf("got %q", f.Payload)
			}
		}
		if e := log.Pending(); len(e) != 0 {
			t.Errorf("the handler noticed: %v", e)
		}
		if e := log.Disconnected(t); !errors.Is(e.Reason, ssntp.ErrExpired) {
			t.Errorf("ended by %v", e.Reason)
		}
		mu.Lock()
		defer mu.Unlock()
		if over := time.Since(latest.Leaf.NotAfter); over > 3*time.Second || time.Since(start) < 2*time.Minute {
			t.Errorf("the connection outlived its certificate by %v after %d renewals", over, renewals)
		}
	})
}

func TestDisconnectCutsPeer(t *testing.T) {
	hub := ssntptest.NewHub(t, func(c *ssntp.ServerConfig) {
		first := true
		c.Admit = func(ssntp.Identity, *x509.Certificate) error {
			if first {
				first = false
				return nil
			}
			return errors.New("revoked")
		}
	})
	client, log := hub.Client(t, ssntp.RoleAgent)
	if !hub.Server.Disconnect(client.Identity().ID, "lost laptop") {
		t.Error("the peer was not there")
	}
	if e := log.Disconnected(t); !errors.Is(e.Reason, ssntp.ErrNotAuthorized) {
		t.Errorf("disconnected: %v", e.Reason)
	}
	hub.Log.Disconnected(t)
}

// TestRevokedPeerIsCut: whoever is admitted no more loses the connection, by
// itself, and gets no other; the others notice nothing.
func TestRevokedPeerIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var revoked atomic.Pointer[ssntp.ID]
		hub := ssntptest.NewHub(t, func(c *ssntp.ServerConfig) {
			c.Limits.Recheck = 10 * time.Second
			c.Admit = func(peer ssntp.Identity, certificate *x509.Certificate) error {
				if identity, err := ssntp.IdentityOf(certificate); err != nil || identity.ID != peer.ID {
					t.Errorf("asked about %v with the certificate of %v, %v", peer, identity, err)
				}
				if id := revoked.Load(); id != nil && *id == peer.ID {
					return errors.New("revoked")
				}
				return nil
			}
		})
		bad, atBad := hub.Client(t, ssntp.RoleAgent)
		_, atGood := hub.Client(t, ssntp.RoleAgent)
		hub.Log.Connected(t)
		hub.Log.Connected(t)
		id := bad.Identity().ID
		revoked.Store(&id)
		start := time.Now()
		if e := hub.Log.Disconnected(t); e.Peer.ID != id || !errors.Is(e.Reason, ssntp.ErrNotAuthorized) {
			t.Errorf("the owner was told of %v: %v", e.Peer, e.Reason)
		}
		if took := time.Since(start); took > 11*time.Second {
			t.Errorf("cut after %v", took)
		}
		if e := atBad.Disconnected(t); !errors.Is(e.Reason, ssntp.ErrNotAuthorized) || !strings.Contains(e.Reason.Error(), "revoked") {
			t.Errorf("disconnected: %v", e.Reason)
		}
		time.Sleep(time.Minute)
		if events := append(atBad.Pending(), atGood.Pending()...); len(events) > 0 {
			t.Errorf("afterwards: %v", events)
		}
	})
}

// TestRevokedServerIsLeft: a client parts with a server that it admits no more,
// and takes the next one.
func TestRevokedServerIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var revoked atomic.Pointer[ssntp.ID]
		first, second := ssntptest.NewHub(t), ssntptest.NewHub(t)
		log := new(ssntptest.Log)
		config := first.ClientConfig(ssntp.RoleAgent, log.Handler())
		config.Addresses = []string{"first.test:1", "second.test:1"}
		config.ServerName = ssntptest.ServerName
		config.Roots = x509.NewCertPool()
		config.Roots.AddCert(first.CA.Authority().Certificate)
		config.Roots.AddCert(second.CA.Authority().Certificate)
		config.Limits.Recheck = 10 * time.Second
		config.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			if address == "first.test:1" {
				return first.Network.Dial(ctx, address)
			}
			return second.Network.Dial(ctx, address)
		}
		asked := make(map[ssntp.ID]bool)
		config.Admit = func(server ssntp.Identity, _ *x509.Certificate) error {
			asked[server.ID] = true
			if id := revoked.Load(); id != nil && *id == server.ID {
				return errors.New("revoked")
			}
			return nil
		}
		_, stop := ssntptest.RunClient(t, config)
		log.Connected(t)
		revoked.Store(&first.ID)
		start := time.Now()
		if e := log.Disconnected(t); !errors.Is(e.Reason, ssntp.ErrNotAuthorized) || time.Since(start) > 11*time.Second {
			t.Errorf("disconnected after %v: %v", time.Since(start), e.Reason)
		}
		time.Sleep(20 * time.Second) // the second hub does not know the client's authority
		stop()
		if !asked[second.ID] || len(log.Pending()) > 0 {
			t.Errorf("asked about %v; then %v", asked, log.Pending())
		}
	})
}

func TestSecondAddress(t *testing.T) {
	hub := ssntptest.NewHub(t, quick)
	log := new(ssntptest.Log)
	config := hub.ClientConfig(ssntp.RoleAgent, log.Handler())
	dial := config.Dial
	config.Addresses = []string{"dead.test:1", ssntptest.Address}
	config.Dial = func(ctx context.Context, address string) (net.Conn, error) {
		if address == "dead.test:1" {
			return nil, errors.New("nobody there")
		}
		return dial(ctx, address)
	}
	ssntptest.RunClient(t, config)
	log.Connected(t)
}

func TestTraceGrowsOnItsWay(t *testing.T) {
	var log bytes.Buffer // the hub writes it before the agent has the frame
	hub := ssntptest.NewHub(t, func(c *ssntp.ServerConfig) {
		c.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	agent, atAgent := hub.Client(t, ssntp.RoleAgent)
	controller, _ := hub.Client(t, ssntp.RoleController)
	trace, err := ssntp.ParseTraceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	if err != nil {
		t.Fatal(err)
	}
	send(t, controller, ssntp.Frame{Operand: ssntp.Start, Destination: agent.Identity().ID, Trace: &trace})
	got := atAgent.Frame(t, ssntp.Start).Trace
	if got == nil || got.TraceID != trace.TraceID || len(got.Hops) != 3 {
		t.Fatalf("got %+v", got)
	}
	if !strings.Contains(log.String(), "trace.id=4bf92f3577b34da6a3ce929d0e0e4736 trace.path=") {
		t.Errorf("the hub logs\n%s", log.String())
	}
	for i, node := range []ssntp.ID{controller.Identity().ID, hub.ID, agent.Identity().ID} {
		hop := got.Hops[i]
		if hop.Node != node || hop.Received.IsZero() || hop.Sent.IsZero() != (i == 2) {
			t.Errorf("hop %d is %+v", i, hop)
		}
	}
}
