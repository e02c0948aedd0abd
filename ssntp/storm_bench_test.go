package ssntp_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/ssntp"
	"github.com/ciaocloud/ciao/ssntp/certs"
	"github.com/ciaocloud/ciao/ssntp/ssntptest"
)

// BenchmarkStorm cuts all connections of a server at once, and measures until
// all its clients are back: the time, the processor's time that server and
// clients spent on each, how often each dialled, and for how many of the dials
// the server worked. With `hurried` a client
// has a tenth of the usual time for a handshake, as on a machine that is so much
// slower.
func BenchmarkStorm(b *testing.B) {
	for _, clients := range []int{250, 1000, 5000} {
		b.Run(fmt.Sprint(clients), func(b *testing.B) { benchStorm(b, clients, ssntp.Limits{Silence: time.Minute}) })
		b.Run(fmt.Sprint(clients, "-hurried"), func(b *testing.B) {
			benchStorm(b, clients, ssntp.Limits{Silence: time.Minute, Resume: time.Minute, Handshake: 500 * time.Millisecond})
		})
	}
}

func benchStorm(b *testing.B, clients int, limits ssntp.Limits) {
	ca := ssntptest.NewCA(b)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	own, err := ca.Authority().Issue(certs.Node(ssntp.NewID(), ssntp.RoleScheduler, "127.0.0.1"))
	if err != nil {
		b.Fatal(err)
	}
	server, err := ssntp.NewServer(ssntp.ServerConfig{
		Certificate: func() (*tls.Certificate, error) { return own.TLS(), nil }, Roots: ca.Roots(), Owner: &benchOwner{}, Limits: limits,
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	b.Cleanup(func() { stop(); running.Wait() })
	running.Go(func() {
		if err := server.Run(ctx, listener); err != nil {
			b.Error(err)
		}
	})
	crowd := &crowd{back: make(chan struct{}, clients), wires: map[net.Conn]bool{}}
	for range clients {
		config := ssntp.ClientConfig{
			Addresses: []string{listener.Addr().String()}, Roots: ca.Roots(), Handler: stormHandler{crowd}, Limits: limits, Dial: crowd.dial,
			Certificate: ssntptest.Source(ca.Certificate(ssntp.NewID(), ssntp.RoleAgent)),
		}
		client, err := ssntp.NewClient(config)
		if err != nil {
			b.Fatal(err)
		}
		running.Go(func() {
			if err := client.Run(ctx); err != nil {
				b.Error(err)
			}
		})
		<-crowd.back // one after the other: the storm comes later
	}
	dialled, begun, spent := crowd.dials.Load(), server.Handshakes().Begun, processorTime(b)
	b.ResetTimer()
	for range b.N {
		crowd.cut()
		for range clients {
			<-crowd.back
		}
	}
	b.StopTimer()
	each := float64(clients * b.N)
	b.ReportMetric(float64(crowd.dials.Load()-dialled)/each, "dials/client")
	b.ReportMetric(float64(server.Handshakes().Begun-begun)/each, "handshakes/client")
	b.ReportMetric((processorTime(b)-spent).Seconds()*1000/each, "cpu-ms/client")
}

// crowd is all clients of a storm.
type crowd struct {
	back  chan struct{} // one for each connection
	dials atomic.Int64

	mu    sync.Mutex
	wires map[net.Conn]bool
}

func (c *crowd) dial(ctx context.Context, address string) (net.Conn, error) {
	c.dials.Add(1)
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err == nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.wires[conn] = true
	}
	return conn, err
}

// cut ends all connections that there are.
func (c *crowd) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.wires {
		conn.Close()
	}
	clear(c.wires)
}

type stormHandler struct{ crowd *crowd }

func (h stormHandler) Connected(context.Context, ssntp.Identity, bool) { h.crowd.back <- struct{}{} }
func (h stormHandler) Disconnected(context.Context, error)             {}
func (h stormHandler) Receive(context.Context, ssntp.Frame)            {}

// processorTime is what this process has used.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
