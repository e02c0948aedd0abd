package apiserver

import (
	"bufio"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ciaocloud/ciao/cluster/controller"
	"github.com/ciaocloud/ciao/cluster/stream"
	"github.com/ciaocloud/ciao/cluster/stream/streamtest"
	"github.com/ciaocloud/ciao/ssntp/certs"
)

// talkative has an instance that prints without end, and a cluster in which nothing changes.
type talkative struct {
	UseCases
	ended chan time.Duration // how long a log was read before its reader was given up
}

func (c talkative) OpenLogs(ctx context.Context, _, _ string, _ controller.LogsRequest) (stream.Conn, error) {
	reader, node := streamtest.Pipe()
	began := time.Now()
	go func() {
		for node.Write(context.WithoutCancel(ctx), stream.Message{Channel: stream.Output, Data: make([]byte, stream.MaxData)}) == nil {
		}
		c.ended <- time.Since(began)
	}()
	return reader, nil
}

// givenUp waits for the end of a log that nobody reads.
func (c talkative) givenUp(t *testing.T) time.Duration {
	t.Helper()
	select {
	case took := <-c.ended:
		return took
	case <-time.After(10 * stream.Patience):
		t.Fatal("it is waited for still")
		return 0
	}
}

func (talkative) Watch(context.Context, string, ...controller.ChangeKind) <-chan controller.Change {
	changes := make(chan controller.Change, 1)
	changes <- controller.Change{Kind: controller.ChangeResync}
	return changes
}

func (talkative) Counters() controller.Counters { return controller.Counters{} }

// memory is a network of one listener, in memory.
type memory struct {
	accepted chan net.Conn
	closed   chan struct{}
	once     sync.Once
	dialled  atomic.Int32
	deaf     chan struct{} // while it is there, clients read nothing
	hears    atomic.Bool
}

func newMemory() *memory {
	m := &memory{accepted: make(chan net.Conn), closed: make(chan struct{}), deaf: make(chan struct{})}
	m.hears.Store(true)
	return m
}

func (m *memory) Accept() (net.Conn, error) {
	select {
	case conn := <-m.accepted:
		return conn, nil
	case <-m.closed:
		return nil, net.ErrClosed
	}
}

func (m *memory) Close() error {
	m.once.Do(func() { close(m.closed) })
	return nil
}

func (m *memory) Addr() net.Addr { return &net.TCPAddr{} }

func (m *memory) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	one, other := net.Pipe()
	select {
	case m.accepted <- other:
		m.dialled.Add(1)
		return hearing{one, m}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// hearing is a client's end of a connection.
type hearing struct {
	net.Conn
	memory *memory
}

func (h hearing) Read(p []byte) (int, error) {
	n, err := h.Conn.Read(p)
	if !h.memory.hears.Load() {
		<-h.memory.deaf
	}
	return n, err
}

// serveTalkative runs a server in the bubble, and returns an operator's client.
func serveTalkative(t *testing.T, cases talkative, network *memory, http2 bool) *http.Client {
	t.Helper()
	authority, err := certs.NewAuthority("test", 0)
	must(t, err)
	web, err := authority.Issue(certs.Web("controller"))
	must(t, err)
	operator, err := authority.Issue(certs.User("root", "admin"))
	must(t, err)
	server := New(Config{UseCases: cases, ClientCAs: authority.Pool(), Certificate: func() (tls.Certificate, error) { return *web.TLS(), nil }})
	ctx, stop := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- server.Run(ctx, network) }()
	transport := &http.Transport{DialContext: network.dial, ForceAttemptHTTP2: http2,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: authority.Pool(), Certificates: []tls.Certificate{*operator.TLS()}}}
	t.Cleanup(func() {
		stop()
		transport.CloseIdleConnections()
		must(t, <-stopped)
	})
	return &http.Client{Transport: transport}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ask begins a request that ends with the returned function.
func ask(t *testing.T, c *http.Client, path string) (answer *http.Response, leave func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://controller"+path, nil)
	must(t, err)
	answer, err = c.Do(request)
	must(t, err)
	return answer, func() {
		cancel()
		_ = answer.Body.Close()
	}
}

const logPath = "/v1/instances/web/logs?follow=true"

// TestReaderWhoStopsIsGivenUp: who does not read a log on holds nothing for ever, and who shares his connection notices nothing.
func TestReaderWhoStopsIsGivenUp(t *testing.T) {
	for name, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cases, network := talkative{ended: make(chan time.Duration, 1)}, newMemory()
				c := serveTalkative(t, cases, network, http2)
				answer, leave := ask(t, c, logPath)
				defer leave()
				if answer.StatusCode != http.StatusOK || answer.ProtoMajor == 2 != http2 {
					t.Fatalf("status %s by %s", answer.Status, answer.Proto)
				}
				if took := cases.givenUp(t); took < stream.Patience || took > stream.Patience+time.Minute {
					t.Errorf("the reader was given up after %v, want %v", took, stream.Patience)
				}
				other, leaveOther := ask(t, c, "/v1/watch")
				defer leaveOther()
				if scanner := bufio.NewScanner(other.Body); !scanner.Scan() || !strings.Contains(scanner.Text(), "change") {
					t.Errorf("another request is answered %q, %v", scanner.Text(), scanner.Err())
				}
				if http2 && network.dialled.Load() != 1 {
					t.Errorf("%d connections, want the other request on the first", network.dialled.Load())
				}
			})
		})
	}
}

// TestConnectionThatNobodyReads: one on which not even the answers' frames are taken goes as a whole.
func TestConnectionThatNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cases, network := talkative{ended: make(chan time.Duration, 1)}, newMemory()
		c := serveTalkative(t, cases, network, true)
		_, leave := ask(t, c, logPath)
		defer leave()
		network.hears.Store(false)
		defer close(network.deaf)
		if took := cases.givenUp(t); took < stream.Patience || took > 2*stream.Patience+time.Minute {
			t.Errorf("the connection was given up after %v", took)
		}
	})
}

// TestSilentWatchGoesOn: a cluster in which nothing happens does not cost its watchers their connections.
func TestSilentWatchGoesOn(t *testing.T) {
	for name, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := serveTalkative(t, talkative{}, newMemory(), http2)
				answer, leave := ask(t, c, "/v1/watch")
				defer leave()
				lives := 0
				scanner := bufio.NewScanner(answer.Body)
				for lives < 12 && scanner.Scan() {
					if scanner.Text() == "event: alive" {
						lives++
					}
				}
				if lives < 12 {
					t.Errorf("the watch ended after %d signs of life: %v", lives, scanner.Err())
				}
			})
		})
	}
}
