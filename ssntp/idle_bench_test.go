package ssntp_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/ssntp"
	"github.com/ciaocloud/ciao/ssntp/certs"
)

const (
	idleConnections = 10_000
	// The runtime collects garbage at least every two minutes; what the handshakes left goes then.
	idleTime = 150 * time.Second
	// idleRole in the environment makes a process of the test binary one of the sides.
	idleRole = "SSNTP_IDLE_ROLE"
)

// idleLimits lets nobody be thought dead on a machine that is busy with other things.
var idleLimits = ssntp.Limits{Silence: time.Minute, Handshake: time.Minute}

// BenchmarkConnections10000 measures what a server spends on clients that do
// nothing but live: each has a certificate of its own and sends its heartbeats.
// Server and clients are processes of their own; the memory is the server's
// resident set, and what the same clients cost in connections of bare
// crypto/tls, one goroutine each, is measured beside it.
func BenchmarkConnections10000(b *testing.B) {
	for _, kind := range []string{"tls", "ssntp"} {
		b.Run(kind, func(b *testing.B) { benchIdle(b, kind) })
	}
}

func benchIdle(b *testing.B, kind string) {
	dir := b.TempDir()
	authority, err := certs.NewAuthority("test authority", 0)
	if err != nil {
		b.Fatal(err)
	}
	if err := authority.Save(filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca.key")); err != nil {
		b.Fatal(err)
	}
	server, line := idleProcess(b, kind+" server", dir)
	empty := resident(b, server.Process.Pid)
	start := time.Now()
	_, ready := idleProcess(b, kind+" clients", dir, line())
	ready()
	b.ReportMetric(idleConnections/time.Since(start).Seconds(), "handshakes/s")
	perConnection := func() float64 { return float64(resident(b, server.Process.Pid)-empty) / idleConnections }
	b.ReportMetric(perConnection(), "KiB/new-conn")
	time.Sleep(idleTime)
	b.ReportMetric(perConnection(), "KiB/idle-conn")
}

// idleProcess starts this binary in a role; line waits for a line from it. It
// ends with the benchmark.
func idleProcess(b *testing.B, role, dir string, args ...string) (process *exec.Cmd, line func() string) {
	b.Helper()
	process = exec.Command(os.Args[0], append([]string{dir}, args...)...)
	process.Env = append(os.Environ(), idleRole+"="+role)
	process.Stderr = os.Stderr
	stdin, err := process.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := process.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := process.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		stdin.Close()
		if err := process.Wait(); err != nil {
			b.Errorf("%s: %v", role, err)
		}
	})
	out := bufio.NewReader(stdout)
	return process, func() string {
		b.Helper()
		text, err := out.ReadString('\n')
		if err != nil {
			b.Fatalf("%s ended: %v", role, err)
		}
		return strings.TrimSpace(text)
	}
}

// resident is the resident set of a process in KiB.
func resident(b *testing.B, pid int) int {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := bytes.Cut(status, []byte("VmRSS:"))
	size, _, _ := strings.Cut(strings.TrimSpace(string(rest)), " ")
	n, err := strconv.Atoi(size)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// runIdleRole is the life of a process that idleProcess has started: until its
// standard input ends.
func runIdleRole(role string, args []string) error {
	authority, err := certs.LoadAuthority(filepath.Join(args[0], "ca.pem"), filepath.Join(args[0], "ca.key"))
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	switch role {
	case "ssntp server", "tls server":
		err = idleServer(ctx, &running, authority, args[0], role == "tls server")
	default:
		err = idleClients(ctx, &running, authority, args[1], role == "tls clients")
	}
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func idleServer(ctx context.Context, running *sync.WaitGroup, authority *certs.Authority, dir string, bare bool) error {
	own, err := authority.Issue(certs.Node(ssntp.NewID(), ssntp.RoleScheduler, "127.0.0.1"))
	if err != nil {
		return err
	}
	certFile, keyFile := filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key")
	if err := own.Save(certFile, keyFile); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if bare {
		go acceptBare(tls.NewListener(listener, &tls.Config{
			MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{*own.TLS()},
			ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: authority.Pool(), SessionTicketsDisabled: true,
		}))
	} else {
		server, err := ssntp.NewServer(ssntp.ServerConfig{
			Certificate: certs.Source(certFile, keyFile, nil), // as daemons do
			Roots:       authority.Pool(), Owner: &benchOwner{}, Limits: idleLimits,
		})
		if err != nil {
			return err
		}
		running.Go(func() {
			if err := server.Run(ctx, listener); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		})
	}
	fmt.Println(listener.Addr())
	return nil
}

// acceptBare echoes single bytes, as signs of life.
func acceptBare(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			b := make([]byte, 1)
			for {
				if _, err := io.ReadFull(conn, b); err != nil {
					return
				}
				if _, err := conn.Write(b); err != nil {
					return
				}
			}
		}()
	}
}

// idleClients returns when all are connected.
func idleClients(ctx context.Context, running *sync.WaitGroup, authority *certs.Authority, address string, bare bool) error {
	connected := make(chan struct{}, idleConnections)
	roots := authority.Pool()
	dialling := make(chan struct{}, 64)
	for range idleConnections {
		pair, err := authority.Issue(certs.Node(ssntp.NewID(), ssntp.RoleAgent))
		if err != nil {
			return err
		}
		dialling <- struct{}{}
		done := sync.OnceFunc(func() { connected <- struct{}{}; <-dialling })
		if bare {
			config := &tls.Config{RootCAs: roots, ServerName: "127.0.0.1", Certificates: []tls.Certificate{*pair.TLS()}}
			conn, err := tls.Dial("tcp", address, config)
			if err != nil {
				return err
			}
			running.Go(func() { keepAlive(ctx, conn) })
			done()
			continue
		}
		client, err := ssntp.NewClient(ssntp.ClientConfig{
			Addresses:   []string{address},
			Certificate: func() (*tls.Certificate, error) { return pair.TLS(), nil },
			Roots:       roots, Handler: idleHandler{done}, Limits: idleLimits,
		})
		if err != nil {
			return err
		}
		running.Go(func() {
			if err := client.Run(ctx); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		})
	}
	for range idleConnections {
		<-connected
	}
	fmt.Println("connected")
	return nil
}

// keepAlive sends a byte as often as ssntp sends heartbeats.
func keepAlive(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	b := make([]byte, 1)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if _, err := conn.Write(b); err != nil {
			return
		}
		if _, err := io.ReadFull(conn, b); err != nil {
			return
		}
	}
}

type idleHandler struct{ connected func() }

func (h idleHandler) Connected(context.Context, ssntp.Identity, bool) { h.connected() }
func (h idleHandler) Disconnected(_ context.Context, reason error)    { fmt.Fprintln(os.Stderr, reason) }
func (h idleHandler) Receive(context.Context, ssntp.Frame)            {}
