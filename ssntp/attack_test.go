package ssntp_test

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ciaocloud/ciao/ssntp"
	"github.com/ciaocloud/ciao/ssntp/ssntptest"
)

// TestHandshakeRefuses lets peers with wrong papers or wrong claims come to the
// hub; none may get into the routing table.
func TestHandshakeRefuses(t *testing.T) {
	id := ssntp.NewID()
	tests := map[string]struct {
		certificate func(ca *ssntptest.CA) *tls.Certificate
		bend        func(p *ssntptest.Peer)
		code        uint16 // of the goodbye; 0: the TLS handshake fails
	}{
		"another authority": {
			certificate: func(*ssntptest.CA) *tls.Certificate {
				return ssntptest.NewCA(t).Certificate(id, ssntp.RoleAgent)
			},
		},
		"expired": {
			certificate: func(ca *ssntptest.CA) *tls.Certificate {
				certificate := ca.CertificateFor(id, ssntp.RoleAgent, time.Second)
				waitFor(t, func() bool { return time.Now().After(certificate.Leaf.NotAfter) })
				return certificate
			},
		},
		"a role it has not": {bend: func(p *ssntptest.Peer) { p.Greeting.Roles |= ssntp.RoleController }, code: 3},
		"no role":           {bend: func(p *ssntptest.Peer) { p.Greeting.Roles = 0 }, code: 3},
		"another's id":      {bend: func(p *ssntptest.Peer) { p.Greeting.ID = ssntp.NewID() }, code: 3},
		"no session":        {bend: func(p *ssntptest.Peer) { p.Greeting.Session = ssntp.ID{} }, code: 2},
		"no window":         {bend: func(p *ssntptest.Peer) { p.Greeting.Frames = 0 }, code: 2},
		"another limit":     {bend: func(p *ssntptest.Peer) { p.Greeting.Max = 5 }, code: 2},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			hub := ssntptest.NewHub(t)
			certificate := hub.CA.Certificate(id, ssntp.RoleAgent)
			if test.certificate != nil {
				certificate = test.certificate(hub.CA)
			}
			peer, err := hub.Peer(t, certificate)
			if err == nil {
				if test.bend != nil {
					test.bend(peer)
				}
				_, err = peer.Hello()
			}
			var bye ssntptest.Goodbye
			if errors.As(err, &bye) != (test.code != 0) || bye.Code != test.code || err == nil {
				t.Errorf("the handshake ended with %v, want goodbye %d", err, test.code)
			}
			if peers := hub.Server.Peers(); len(peers) > 0 {
				t.Errorf("the hub let in %v", peers)
			}
		})
	}
}

func TestClientRefusesServerWithoutRole(t *testing.T) {
	ca := ssntptest.NewCA(t)
	if _, err := ssntp.NewServer(ssntp.ServerConfig{
		Certificate: ssntptest.Source(ca.Certificate(ssntp.NewID(), ssntp.RoleAgent)),
		Roots:       ca.Roots(), Owner: new(ssntptest.Log).Owner(),
	}); err == nil {
		t.Error("a server started with an agent's certificate")
	}
}

// TestBreachEndsConnection: after a good handshake the peer breaks the protocol.
func TestBreachEndsConnection(t *testing.T) {
	tests := map[string]struct {
		packet ssntptest.Packet
		code   uint16
	}{
		"another version": {ssntptest.Packet{Version: 9, Kind: 2, Number: 1, Message: 1}, 2},
		"oversized":       {ssntptest.Packet{Version: 1, Kind: 2, Number: 1, Message: 1, Length: 1<<20 + 1}, 2},
		"a gap":           {ssntptest.To(ssntp.Ready, 5, ssntp.ID{}, ""), 2},
		"ack of nothing":  {ssntptest.Packet{Version: 1, Kind: 2, Number: 1, Message: 1, Ack: 99}, 2},
		"a second hello":  {ssntptest.Packet{Version: 1, Kind: 5, Number: 1}, 2},
		"another's name":  {ssntptest.Packet{Version: 1, Kind: 2, Number: 1, Message: 1, Flags: 1, Options: make16(7)}, 3},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			hub := ssntptest.NewHub(t)
			peer := joined(t, hub, ssntp.RoleAgent)
			if err := peer.Send(test.packet); err != nil {
				t.Fatal(err)
			}
			var bye ssntptest.Goodbye
			if err := peer.Ended(); !errors.As(err, &bye) || bye.Code != test.code {
				t.Errorf("the connection ended with %v, want goodbye %d", err, test.code)
			}
		})
	}
}

func make16(b byte) []byte { return append(make([]byte, 15), b) }

// joined returns a scripted peer after its handshake.
func joined(t *testing.T, hub *ssntptest.Hub, roles ssntp.Role) *ssntptest.Peer {
	t.Helper()
	peer, err := hub.Peer(t, hub.CA.Certificate(ssntp.NewID(), roles))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := peer.Hello(); err != nil {
		t.Fatal(err)
	}
	hub.Log.Connected(t)
	return peer
}

func TestForbiddenFrames(t *testing.T) {
	hub := ssntptest.NewHub(t)
	peer := joined(t, hub, ssntp.RoleCNCIAgent)
	for n := range uint64(32) {
		if err := peer.Send(ssntptest.To(ssntp.Start, n+1, ssntp.NewID(), "")); err != nil {
			t.Fatal(err)
		}
		if n == 31 {
			break
		}
		answer, err := peer.Next()
		if err != nil || answer.Kind != 4 || answer.Number != ssntp.NotAuthorized.Number() {
			t.Fatalf("frame %d is answered by %+v, %v", n+1, answer, err)
		}
	}
	var bye ssntptest.Goodbye
	if err := peer.Ended(); !errors.As(err, &bye) || bye.Code != 3 {
		t.Errorf("after many violations the connection ended with %v", err)
	}
}

func TestUnknownOperandIsSkipped(t *testing.T) {
	hub := ssntptest.NewHub(t)
	peer := joined(t, hub, ssntp.RoleAgent)
	for _, packet := range []ssntptest.Packet{
		{Version: 1, Kind: 3, Number: 200, Message: 1, Payload: []byte("later")},
		{Version: 1, Kind: 5, Number: 99, Payload: []byte("later")},
		ssntptest.To(ssntp.Ready, 2, ssntp.ID{}, "here"),
	} {
		if err := peer.Send(packet); err != nil {
			t.Fatal(err)
		}
	}
	if f := hub.Log.Frame(t, ssntp.Ready); string(f.Payload) != "here" {
		t.Errorf("got %+v", f)
	}
	if answer, err := peer.Next(); err != nil || answer.Number != ssntp.InvalidFrame.Number() {
		t.Errorf("the unknown operand is answered by %+v, %v", answer, err)
	}
}

// TestSilentHandshake: peers that say nothing, or trickle, are cut in time.
func TestSilentHandshake(t *testing.T) {
	tests := map[string]func(net.Conn){
		"silent": func(net.Conn) {},
		"trickling": func(conn net.Conn) {
			for _, b := range []byte(strings.Repeat("\x16\x03\x01\x40\x00\x01", 1000)) {
				time.Sleep(100 * time.Millisecond) // of the bubble's clock
				if _, err := conn.Write([]byte{b}); err != nil {
					return
				}
			}
		},
	}
	for name, attack := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hub := ssntptest.NewHub(t)
				start := time.Now()
				conn, err := hub.Network.Dial(t.Context(), "")
				if err != nil {
					t.Fatal(err)
				}
				var attacker sync.WaitGroup
				defer attacker.Wait()
				defer conn.Close()
				attacker.Go(func() { attack(conn) })
				for err == nil {
					_, err = conn.Read(make([]byte, 100))
				}
				if took := time.Since(start); took > 6*time.Second {
					t.Errorf("cut after %v", took)
				}
			})
		})
	}
}

// TestManySilentPeersKeepNobodyOut: a handshake begins when the client has spoken.
func TestManySilentPeersKeepNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := ssntptest.NewHub(t, func(c *ssntp.ServerConfig) { c.Limits.Handshakes = 4 })
		for range 20 {
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
		if took := time.Since(began); took > time.Second {
			t.Errorf("a peer that speaks was kept out for %v", took)
		}
	})
}

// TestManyHonestPeersAreAllLetIn: when all dial at once, none is thrown out to
// dial again.
func TestManyHonestPeersAreAllLetIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var refused strings.Builder
		hub := ssntptest.NewHub(t, func(c *ssntp.ServerConfig) {
			c.Limits.Handshakes = 4
			c.Logger = slog.New(slog.NewTextHandler(&refused, &slog.HandlerOptions{Level: slog.LevelWarn}))
		})
		const many = 50
		logs := make([]*ssntptest.Log, many)
		for i := range logs {
			logs[i] = new(ssntptest.Log)
			ssntptest.RunClient(t, hub.ClientConfig(ssntp.RoleAgent, logs[i].Handler()))
		}
		for _, log := range logs {
			log.Connected(t)
		}
		synctest.Wait()
		if refused.Len() > 0 || hub.Network.Dialled() != many {
			t.Errorf("%d peers dialled %d times; the hub said:\n%s", many, hub.Network.Dialled(), refused.String())
		}
	})
}
