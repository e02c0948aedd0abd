package ssntp_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ciaocloud/ciao/ssntp"
	"github.com/ciaocloud/ciao/ssntp/ssntptest"
)

// TestEveryBitOfTheHeader: a peer with a valid certificate sends a frame with
// one bit of its header or options changed, then a good one. Either its
// connection ends, in time, or what arrives is a frame that it may send, from
// itself; and nobody else notices.
func TestEveryBitOfTheHeader(t *testing.T) {
	const version, message, reserved, options, end = 0, 8, 26, 28, 28 + 16 + 16
	synctest.Test(t, func(t *testing.T) {
		hub := ssntptest.NewHub(t, func(c *ssntp.ServerConfig) { // short, since the certificates last an hour of the bubble
			c.Limits.Heartbeat, c.Limits.Silence, c.Limits.Resume = 20*time.Millisecond, 100*time.Millisecond, 20*time.Millisecond
		})
		witness, atWitness := hub.Client(t, ssntp.RoleController)
		hub.Log.Connected(t)
		for bit := range end * 8 {
			peer := joined(t, hub, ssntp.RoleAgent)
			self := peer.Greeting.ID
			packet := ssntptest.To(ssntp.InstanceState, 1, witness.Identity().ID, "first")
			packet.Flags, packet.Options = 0x03, append(self[:], packet.Options...)
			bent := packet.Bytes()
			bent[bit/8] ^= 1 << (bit % 8)
			good := ssntptest.To(ssntp.InstanceState, 2, ssntp.ID{}, "second")
			start := time.Now()
			var bye ssntptest.Goodbye
			var reading sync.WaitGroup
			reading.Go(func() { _ = errors.As(peer.Ended(), &bye) })
			if err := peer.Write(bent); err != nil {
				t.Fatal(err)
			}
			_ = peer.Send(good) // it may be over
			reading.Wait()
			hub.Log.Disconnected(t)
			if took := time.Since(start); took > time.Second {
				t.Errorf("bit %d: the session ended after %v", bit, took)
			}
			got := framesOf(atWitness)
			for _, f := range got {
				if f.Source != self || f.Operand != ssntp.InstanceState && !allowed(f.Operand) {
					t.Errorf("bit %d: %v from %v arrived", bit, f.Operand, f.Source)
				}
			}
			switch at := bit / 8; {
			case at == version, at >= message && at < message+16:
				if bye.Code != 2 || len(got) > 0 {
					t.Errorf("bit %d: goodbye %d, %d frames arrived", bit, bye.Code, len(got))
				}
			case at >= options && at < options+16:
				if bye.Code != 3 || len(got) > 0 {
					t.Errorf("bit %d: goodbye %d, %d frames arrived", bit, bye.Code, len(got))
				}
			case at >= reserved && at < reserved+2:
				if bye.Code != 0 || len(got) != 2 {
					t.Errorf("bit %d: the reserved bytes matter: %d frames arrived", bit, len(got))
				}
			}
		}
		if noticed := atWitness.Pending(); len(noticed) > 0 {
			t.Errorf("another peer noticed: %v", noticed)
		}
	})
}

// allowed says that an agent may send an operand to a controller.
func allowed(operand ssntp.Operand) bool {
	rule, ok := ssntp.RuleOf(operand)
	return ok && rule.From&ssntp.RoleAgent != 0 && rule.To&ssntp.RoleController != 0
}

// framesOf takes out what has come.
func framesOf(log *ssntptest.Log) []ssntp.Frame {
	synctest.Wait()
	var frames []ssntp.Frame
	for _, e := range log.Take() {
		if e.What == "frame" {
			frames = append(frames, e.Frame)
		}
	}
	return frames
}

// TestFloodOverTheWindow: a peer goes on sending while the hub's handler is
// busy. It gets no further than its window, and out.
func TestFloodOverTheWindow(t *testing.T) {
	const window = 64
	gate := make(chan struct{})
	hub := ssntptest.NewHub(t, func(c *ssntp.ServerConfig) {
		c.Limits.WindowFrames = window
		c.Owner = blockingOwner{c.Owner, gate}
	})
	defer close(gate)
	peer := joined(t, hub, ssntp.RoleAgent)
	var bye ssntptest.Goodbye
	var reading sync.WaitGroup
	reading.Go(func() { _ = errors.As(peer.Ended(), &bye) })
	sent := 0
	for ; sent < 100*window; sent++ {
		if peer.Send(ssntptest.To(ssntp.Ready, uint64(sent+1), ssntp.ID{}, "flood")) != nil {
			break
		}
	}
	// The frames of the last read may have been on their way.
	if sent < window || sent > 2*window+128 {
		t.Errorf("%d frames were taken with a window of %d", sent, window)
	}
	if reading.Wait(); bye.Code != 2 {
		t.Errorf("the connection ended with %v", bye)
	}
}

type blockingOwner struct {
	ssntp.Owner
	gate chan struct{}
}

func (o blockingOwner) Receive(ctx context.Context, f ssntp.Frame) {
	select {
	case <-o.gate:
	case <-ctx.Done():
	}
	o.Owner.Receive(ctx, f)
}

// TestFloodWithoutReading: a peer sends frames that are answered, and reads no
// answer. What waits for it is bounded, its connection ends in time, and others
// are served meanwhile.
func TestFloodWithoutReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := ssntptest.NewHub(t, func(c *ssntp.ServerConfig) { c.Limits.QueueFrames = 32 })
		peer := joined(t, hub, ssntp.RoleAgent)
		client, _ := hub.Client(t, ssntp.RoleAgent)
		hub.Log.Connected(t)
		start := time.Now()
		var flood sync.WaitGroup
		flood.Go(func() {
			for n := uint64(1); peer.Send(ssntptest.Packet{Version: 1, Kind: 3, Number: 200, Message: n}) == nil; n++ {
				time.Sleep(time.Millisecond) // of the bubble's clock, which stands still otherwise
			}
		})
		for i := range 50 {
			send(t, client, ssntp.Frame{Operand: ssntp.Ready, Payload: fmt.Append(nil, i)})
			if f := hub.Log.Frame(t, ssntp.Ready); string(f.Payload) != fmt.Sprint(i) {
				t.Errorf("got %q, want %d", f.Payload, i)
			}
		}
		flood.Wait()
		if took := time.Since(start); took > 6*time.Second {
			t.Errorf("the flood ended after %v", took)
		}
	})
}

// TestSlowHello: a peer with a valid certificate is as silent, or as slow, after
// TLS as others before it.
func TestSlowHello(t *testing.T) {
	for name, attack := range map[string]func(*ssntptest.Peer){
		"silent": func(*ssntptest.Peer) {},
		"trickling": func(p *ssntptest.Peer) {
			hello := ssntptest.Packet{Version: 1, Kind: ssntptest.KindControl, Number: ssntptest.NumberHello, Payload: p.Greeting.Bytes()}
			for _, b := range hello.Bytes() {
				time.Sleep(100 * time.Millisecond) // of the bubble's clock
				if p.Write([]byte{b}) != nil {
					return
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hub := ssntptest.NewHub(t)
				peer, err := hub.Peer(t, hub.CA.Certificate(ssntp.NewID(), ssntp.RoleAgent))
				if err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				var attacker sync.WaitGroup
				attacker.Go(func() { attack(peer) })
				if err := peer.Ended(); err == nil || time.Since(start) > 6*time.Second {
					t.Errorf("ended with %v after %v", err, time.Since(start))
				}
				attacker.Wait()
				if peers := hub.Server.Peers(); len(peers) > 0 {
					t.Errorf("the hub let in %v", peers)
				}
			})
		})
	}
}

// TestHalfOpenAtTheHub: the machine of a peer loses power while frames for it
// are under way. The hub finds out, answers their sender, and serves the others.
func TestHalfOpenAtTheHub(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := ssntptest.NewHub(t)
		peer := joined(t, hub, ssntp.RoleAgent)
		wires := hub.Network
		wires.Freeze()
		controller, log := hub.Client(t, ssntp.RoleController)
		hub.Log.Connected(t)
		start := time.Now()
		send(t, controller, ssntp.Frame{Operand: ssntp.Start, Destination: peer.Greeting.ID, Payload: []byte("lost")})
		refusal, err := ssntp.ParseRefusal(log.Frame(t, ssntp.Undeliverable).Payload)
		if err != nil || string(refusal.Payload) != "lost" {
			t.Errorf("answered %+v, %v", refusal, err)
		}
		if took := time.Since(start); took > 12*time.Second {
			t.Errorf("found out after %v", took)
		}
		if e := hub.Log.Disconnected(t); e.Peer.ID != peer.Greeting.ID || !errors.Is(e.Reason, ssntp.ErrSilent) {
			t.Errorf("the owner was told of %v: %v", e.Peer, e.Reason)
		}
	})
}
