package ssntp_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ciaocloud/ciao/ssntp"
	"github.com/ciaocloud/ciao/ssntp/ssntptest"
)

// rotating is a certificate file that is replaced now and then.
type rotating struct {
	id      ssntp.ID
	roles   ssntp.Role
	current atomic.Pointer[tls.Certificate]
}

func newRotating(ca *ssntptest.CA, id ssntp.ID, roles ssntp.Role) *rotating {
	r := &rotating{id: id, roles: roles}
	r.replace(ca)
	return r
}

func (r *rotating) replace(ca *ssntptest.CA) { r.current.Store(ca.Certificate(r.id, r.roles)) }

func (r *rotating) source() (*tls.Certificate, error) { return r.current.Load(), nil }

// admitted remembers the latest certificate that each peer has shown.
type admitted struct {
	mu     sync.Mutex
	latest map[ssntp.ID]*x509.Certificate
}

func (a *admitted) admit(peer ssntp.Identity, certificate *x509.Certificate) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.latest == nil {
		a.latest = make(map[ssntp.ID]*x509.Certificate)
	}
	a.latest[peer.ID] = certificate
	return nil
}

func (a *admitted) shows(r *rotating) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.latest[r.id] != nil && a.latest[r.id].Equal(r.current.Load().Leaf)
}

// TestRotationUnderTraffic: all certificates are replaced ten times while
// frames flow both ways; each arrives once, in order, and nobody notices.
func TestRotationUnderTraffic(t *testing.T) {
	const rotations = 10
	var seen admitted
	var own *rotating
	hub := ssntptest.NewHub(t, func(c *ssntp.ServerConfig) {
		c.Limits.Recheck = 5 * time.Millisecond
		c.Admit = seen.admit
		leaf, err := c.Certificate()
		if err != nil {
			t.Fatal(err)
		}
		own = &rotating{}
		own.current.Store(leaf)
		c.Certificate = own.source
	})
	own.id, own.roles = hub.ID, ssntp.RoleScheduler
	agent, controller := newRotating(hub.CA, ssntp.NewID(), ssntp.RoleAgent), newRotating(hub.CA, ssntp.NewID(), ssntp.RoleController)
	down, up := newCounter(1<<62), newCounter(1<<62)
	atAgent, atController := new(ssntptest.Log), new(ssntptest.Log)
	run := func(r *rotating, log *ssntptest.Log, counts, sent *counter) *ssntp.Client {
		config := hub.ClientConfigFor(r.current.Load(), counting{log.Handler(), counts, sent})
		config.Certificate = r.source
		client, _ := ssntptest.RunClient(t, config)
		log.Connected(t)
		return client
	}
	a, c := run(agent, atAgent, down, up), run(controller, atController, up, down)

	stop := make(chan struct{})
	var wg sync.WaitGroup
	stream := func(from *ssntp.Client, operand ssntp.Operand, to ssntp.ID, at *counter) {
		var i uint64
		for ; ; i++ {
			select {
			case <-stop:
				waitFor(t, func() bool { return at.behind(i) == 0 })
				return
			default:
			}
			waitFor(t, func() bool { return at.behind(i) < 500 })
			f := ssntp.Frame{Operand: operand, Destination: to, Payload: binary.BigEndian.AppendUint64(nil, i)}
			if err := from.Send(t.Context(), f); err != nil {
				t.Errorf("send %d: %v", i, err)
				return
			}
		}
	}
	wg.Go(func() { stream(c, ssntp.Start, agent.id, down) })
	wg.Go(func() { stream(a, ssntp.InstanceState, controller.id, up) })
	for range rotations {
		before := down.count()
		for _, r := range []*rotating{own, agent, controller} {
			r.replace(hub.CA)
		}
		waitFor(t, func() bool { return seen.shows(agent) && seen.shows(controller) && down.count() > before })
	}
	close(stop)
	wg.Wait()
	for name, flow := range map[string]*counter{"to the agent": down, "to the controller": up} {
		flow.mu.Lock()
		if flow.bad != nil {
			t.Errorf("%s: %v", name, flow.bad)
		}
		flow.mu.Unlock()
	}
	if noticed := append(atAgent.Pending(), atController.Pending()...); len(noticed) > 0 {
		t.Errorf("the handlers noticed: %v", noticed)
	}
	if dialled := hub.Network.Dialled(); dialled < 2*(rotations+1) {
		t.Errorf("%d connections for %d rotations of two clients", dialled, rotations)
	}
	t.Logf("%d frames down, %d up, %d connections", down.count(), up.count(), hub.Network.Dialled())

	peer, err := hub.Peer(t, hub.CA.Certificate(ssntp.NewID(), ssntp.RoleAgent))
	if err != nil {
		t.Fatal(err)
	}
	if !peer.Conn.ConnectionState().PeerCertificates[0].Equal(own.current.Load().Leaf) {
		t.Error("the server shows an old certificate")
	}
}

// TestServerCertificateNearsItsEnd: its clients come over to the new one before
// the old one expires, and notice nothing.
func TestServerCertificateNearsItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var own atomic.Pointer[tls.Certificate]
		hub := ssntptest.NewHub(t, func(c *ssntp.ServerConfig) {
			first, err := c.Certificate()
			if err != nil {
				t.Fatal(err)
			}
			own.Store(first)
			c.Certificate = func() (*tls.Certificate, error) { return own.Load(), nil }
		})
		own.Store(hub.CA.CertificateFor(hub.ID, ssntp.RoleScheduler, time.Minute))
		_, log := hub.Client(t, ssntp.RoleAgent)
		own.Store(hub.CA.CertificateFor(hub.ID, ssntp.RoleScheduler, time.Hour))
		time.Sleep(5 * time.Minute)
		if events := log.Pending(); len(events) > 0 {
			t.Errorf("the client noticed: %v", events)
		}
		if dialled := hub.Network.Dialled(); dialled != 2 {
			t.Errorf("%d connections, want the first and the one that took over", dialled)
		}
	})
}
