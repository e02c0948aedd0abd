package ssntptest

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"testing"

	"github.com/ciaocloud/ciao/ssntp"
)

// Hub is a running server on a network in memory.
type Hub struct {
	Server  *ssntp.Server
	CA      *CA
	Network *Network
	Log     *Log // what the owner is told, unless the options name another owner
	ID      ssntp.ID
	limits  ssntp.Limits
	stop    func()
	mu      sync.Mutex // guards Network against clients that dial during Restart
}

func (h *Hub) network() *Network {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.Network
}

// NewHub starts a scheduler's server that lives as long as the test. Options
// may change the configuration before it starts.
func NewHub(tb testing.TB, options ...func(*ssntp.ServerConfig)) *Hub {
	tb.Helper()
	h := &Hub{CA: NewCA(tb), Network: NewNetwork(), ID: ssntp.NewID()}
	h.start(tb, options)
	return h
}

// Restart ends the server as kill -9 does to those who watch from outside, and
// starts another process with the same certificate.
func (h *Hub) Restart(tb testing.TB, options ...func(*ssntp.ServerConfig)) {
	tb.Helper()
	h.network().SetDown(true)
	h.network().Cut()
	h.stop()
	h.mu.Lock()
	h.Network = NewNetwork()
	h.mu.Unlock()
	h.start(tb, options)
}

func (h *Hub) start(tb testing.TB, options []func(*ssntp.ServerConfig)) {
	tb.Helper()
	h.Log = new(Log)
	config := ssntp.ServerConfig{
		Certificate: Source(h.CA.Certificate(h.ID, ssntp.RoleScheduler)),
		Roots:       h.CA.Roots(),
		Owner:       h.Log.Owner(),
	}
	for _, option := range options {
		option(&config)
	}
	server, err := ssntp.NewServer(config)
	if err != nil {
		tb.Fatalf("make a server: %v", err)
	}
	h.Server, h.limits = server, config.Limits
	network := h.Network
	h.stop = run(tb, "server", func(ctx context.Context) error { return server.Run(ctx, network) })
}

// ClientConfig is complete for a client of this hub with a new id.
func (h *Hub) ClientConfig(roles ssntp.Role, handler ssntp.Handler) ssntp.ClientConfig {
	return h.ClientConfigFor(h.CA.Certificate(ssntp.NewID(), roles), handler)
}

// ClientConfigFor is ClientConfig for a certificate.
func (h *Hub) ClientConfigFor(certificate *tls.Certificate, handler ssntp.Handler) ssntp.ClientConfig {
	return ssntp.ClientConfig{
		Addresses:   []string{Address},
		Certificate: Source(certificate),
		Roots:       h.CA.Roots(),
		Handler:     handler,
		Limits:      h.limits,
		Dial: func(ctx context.Context, address string) (net.Conn, error) {
			return h.network().Dial(ctx, address)
		},
	}
}

// Client runs a client with a new id as long as the test, and waits until it is
// connected.
func (h *Hub) Client(tb testing.TB, roles ssntp.Role) (*ssntp.Client, *Log) {
	tb.Helper()
	log := new(Log)
	client, _ := RunClient(tb, h.ClientConfig(roles, log.Handler()))
	log.Connected(tb)
	return client, log
}

// RunClient runs a client as long as the test, or until stop, which waits for
// it.
func RunClient(tb testing.TB, config ssntp.ClientConfig) (client *ssntp.Client, stop func()) {
	tb.Helper()
	client, err := ssntp.NewClient(config)
	if err != nil {
		tb.Fatalf("make a client: %v", err)
	}
	return client, run(tb, "client", client.Run)
}

// run owns a goroutine until the returned function, or the end of the test.
func run(tb testing.TB, name string, body func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := body(ctx); err != nil {
			tb.Logf("%s ended: %v", name, err)
		}
	})
	stop = func() {
		cancel()
		wg.Wait()
	}
	tb.Cleanup(stop)
	return stop
}
