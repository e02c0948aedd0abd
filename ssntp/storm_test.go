package ssntp_test

import (
	"context"
	"crypto/x509"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ciaocloud/ciao/ssntp"
	"github.com/ciaocloud/ciao/ssntp/ssntptest"
)

// oneProcessor is what a hub computes its handshakes on, one after the other.
type oneProcessor struct {
	busy chan struct{}
	each atomic.Int64 // nanoseconds of the bubble's clock
	done atomic.Int64
}

func (p *oneProcessor) admit(ssntp.Identity, *x509.Certificate) error {
	p.busy <- struct{}{}
	time.Sleep(time.Duration(p.each.Load()))
	<-p.busy
	p.done.Add(1)
	return nil
}

// TestStormConverges: all clients lose their connections at once, and the hub
// needs five times as long for all handshakes as a client waits for its own.
// Clients give up and dial again, but hardly a handshake is done in vain, and
// no session is given up meanwhile.
func TestStormConverges(t *testing.T) {
	const clients, each = 50, 5 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		processor := &oneProcessor{busy: make(chan struct{}, 1)}
		hub := ssntptest.NewHub(t, func(c *ssntp.ServerConfig) {
			c.Limits = ssntp.Limits{Handshakes: 2}.Scale(0.01)
			c.Admit = processor.admit
		})
		logs := make([]*ssntptest.Log, clients)
		for i := range logs {
			_, logs[i] = hub.Client(t, ssntp.RoleAgent)
			hub.Log.Connected(t)
		}
		processor.each.Store(int64(each))
		worked, dialled, before := processor.done.Load(), hub.Network.Dialled(), hub.Server.Handshakes()
		hub.Network.Cut()
		cut := time.Now()
		for _, log := range logs {
			log.Disconnected(t)
			if !log.Connected(t).Resumed {
				t.Error("a session was given up")
			}
		}
		if took := time.Since(cut); took > 2*clients*each {
			t.Errorf("all are back after %v; the handshakes take %v", took, clients*each)
		}
		if worked := processor.done.Load() - worked; worked > clients+clients/5 {
			t.Errorf("%d handshakes for %d clients", worked, clients)
		}
		synctest.Wait() // the last client may know before the hub has counted it
		counts := hub.Server.Handshakes()
		if dials := hub.Network.Dialled() - dialled; dials < clients+clients/2 || counts.HungUp == before.HungUp {
			t.Errorf("%d dials, %+v: hardly anybody gave up, and the test tests nothing", dials, counts)
		}
		if begun := counts.Begun - before.Begun; begun > clients+clients/5 || counts.Done-before.Done < clients {
			t.Errorf("the hub counts %+v, before %+v", counts, before)
		}
		if connected := len(hub.Server.Connected()); connected != clients {
			t.Errorf("%d of %d are connected", connected, clients)
		}
	})
}

// TestCrowdIsNotWaitedForForever: others at the gate prolong a session that has
// lost its connection, but whoever has the line full for good cannot keep the
// hub from finding out that a node is lost.
func TestCrowdIsNotWaitedForForever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := ssntptest.NewHub(t, func(c *ssntp.ServerConfig) { c.Limits.Handshakes, c.Limits.Resume = 1, time.Second })
		joined(t, hub, ssntp.RoleAgent)
		ctx, stop := context.WithCancel(t.Context())
		var crowd sync.WaitGroup
		defer crowd.Wait()
		defer stop()
		for range 40 {
			crowd.Go(func() { stall(ctx, hub.Network) })
		}
		synctest.Wait()
		hub.Network.Cut()
		cut := time.Now()
		hub.Log.Disconnected(t)
		if took := time.Since(cut); took < 5*time.Second || took > 9*time.Second {
			t.Errorf("found out after %v", took)
		}
	})
}

// stall begins one handshake after the other, and goes on with none.
func stall(ctx context.Context, network *ssntptest.Network) {
	for ctx.Err() == nil {
		conn, err := network.Dial(ctx, "")
		if err != nil {
			return
		}
		// A whole record with the beginning of a hello.
		if _, err := conn.Write([]byte{22, 3, 1, 0, 4, 1, 0, 64, 0}); err == nil {
			_, _ = io.Copy(io.Discard, conn)
		}
		conn.Close()
	}
}

// TestSilentPeersMakeRoom: when more connections wait than may, those that have
// said nothing have to go first.
func TestSilentPeersMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := ssntptest.NewHub(t, func(c *ssntp.ServerConfig) { c.Limits.Waiting, c.Limits.Handshakes = 4, 1 })
		for range 40 {
			go func() {
				conn, err := hub.Network.Dial(t.Context(), "")
				if err != nil {
					t.Error(err)
					return
				}
				t.Cleanup(func() { conn.Close() })
			}()
		}
		synctest.Wait()
		began := time.Now()
		hub.Client(t, ssntp.RoleAgent)
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("a client that speaks was kept out for %v", took)
		}
	})
}
