package ssntp_test

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/ssntp"
	"github.com/ciaocloud/ciao/ssntp/ssntptest"
)

const (
	benchPayload = 512
	benchFrame   = 28 + benchPayload
	benchBatch   = 64 << 10 / benchFrame * benchFrame
)

// BenchmarkStream sends 512 byte payloads one way, acknowledged by their
// handler, over loopback TCP; the peer in the same run is bare crypto/tls with
// frames of the same size in writes of 64 KiB.
func BenchmarkStream(b *testing.B) {
	var bare float64
	b.Run("tls", func(b *testing.B) { bare = benchBareStream(b) })
	b.Run("ssntp", func(b *testing.B) {
		rate := benchStream(b)
		if bare > 0 {
			b.ReportMetric(rate/bare, "of-tls")
		}
	})
}

// BenchmarkPingPong sends a frame to and fro; the median counts.
func BenchmarkPingPong(b *testing.B) {
	var bare float64
	b.Run("tls", func(b *testing.B) { bare = benchBarePingPong(b) })
	b.Run("ssntp", func(b *testing.B) {
		median := benchPingPong(b)
		if bare > 0 {
			b.ReportMetric(median/bare, "of-tls")
		}
	})
}

// bareTLS returns both ends of a connection as package ssntp configures it.
func bareTLS(b *testing.B) (client, server *tls.Conn) {
	b.Helper()
	ca := ssntptest.NewCA(b)
	listener := loopback(b)
	defer listener.Close()
	accepted := make(chan *tls.Conn, 1)
	go func() {
		raw, err := listener.Accept()
		if err != nil {
			return
		}
		conn := tls.Server(raw, &tls.Config{
			MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{*ca.Certificate(ssntp.NewID(), ssntp.RoleScheduler)},
			ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Roots(), DynamicRecordSizingDisabled: true,
		})
		if conn.Handshake() == nil {
			accepted <- conn
		}
	}()
	client, err := tls.Dial("tcp", listener.Addr().String(), &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: ca.Roots(), ServerName: ssntptest.ServerName,
		Certificates: []tls.Certificate{*ca.Certificate(ssntp.NewID(), ssntp.RoleAgent)}, DynamicRecordSizingDisabled: true,
	})
	if err != nil {
		b.Fatal(err)
	}
	server = <-accepted
	b.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

func loopback(b *testing.B) net.Listener {
	b.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	return listener
}

func benchBareStream(b *testing.B) float64 {
	client, server := bareTLS(b)
	total := max(b.N*benchFrame/benchBatch, 1) * benchBatch
	go func() {
		batch := make([]byte, benchBatch)
		for sent := 0; sent < total; sent += len(batch) {
			if _, err := client.Write(batch); err != nil {
				return
			}
		}
	}()
	b.ReportAllocs()
	spent := processorTime(b)
	b.ResetTimer()
	if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, io.LimitReader(server, int64(total)), make([]byte, 64<<10)); err != nil {
		b.Fatal(err)
	}
	rate := float64(total/benchFrame) / b.Elapsed().Seconds()
	b.ReportMetric(rate, "frames/s")
	b.ReportMetric(float64((processorTime(b)-spent).Nanoseconds())/float64(total/benchFrame), "cpu-ns/frame")
	return rate
}

// benchHub is a server on loopback TCP with one client.
func benchHub(b *testing.B, receive func(*ssntp.Server, ssntp.Frame), answer func(ssntp.Frame)) *ssntp.Client {
	b.Helper()
	ca := ssntptest.NewCA(b)
	owner := &benchOwner{receive: receive}
	server, err := ssntp.NewServer(ssntp.ServerConfig{
		Certificate: ssntptest.Source(ca.Certificate(ssntp.NewID(), ssntp.RoleScheduler)),
		Roots:       ca.Roots(), Owner: owner,
	})
	if err != nil {
		b.Fatal(err)
	}
	owner.server = server
	listener := loopback(b)
	connected := make(chan struct{})
	client, err := ssntp.NewClient(ssntp.ClientConfig{
		Addresses:   []string{listener.Addr().String()},
		Certificate: ssntptest.Source(ca.Certificate(ssntp.NewID(), ssntp.RoleController|ssntp.RoleAgent)),
		Roots:       ca.Roots(), Handler: benchHandler{connected, answer},
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 2)
	go func() { ended <- server.Run(ctx, listener) }()
	go func() { ended <- client.Run(ctx) }()
	b.Cleanup(func() { cancel(); <-ended; <-ended })
	<-connected
	return client
}

type benchOwner struct {
	server  *ssntp.Server
	receive func(*ssntp.Server, ssntp.Frame)
}

func (o *benchOwner) Connected(context.Context, ssntp.Identity)           {}
func (o *benchOwner) Disconnected(context.Context, ssntp.Identity, error) {}
func (o *benchOwner) Receive(_ context.Context, f ssntp.Frame)            { o.receive(o.server, f) }

type benchHandler struct {
	connected chan struct{}
	receive   func(ssntp.Frame)
}

func (h benchHandler) Connected(context.Context, ssntp.Identity, bool) { close(h.connected) }
func (h benchHandler) Disconnected(context.Context, error)             {}
func (h benchHandler) Receive(_ context.Context, f ssntp.Frame)        { h.receive(f) }

func benchStream(b *testing.B) float64 {
	var count atomic.Int64
	all := make(chan struct{})
	client := benchHub(b, func(*ssntp.Server, ssntp.Frame) {
		if count.Add(1) == int64(b.N) {
			close(all)
		}
	}, nil)
	payload := make([]byte, benchPayload)
	b.ReportAllocs()
	spent := processorTime(b)
	b.ResetTimer()
	for range b.N {
		if err := client.Send(b.Context(), ssntp.Frame{Operand: ssntp.Place, Payload: payload}); err != nil {
			b.Fatal(err)
		}
	}
	<-all
	rate := float64(b.N) / b.Elapsed().Seconds()
	b.ReportMetric(rate, "frames/s")
	b.ReportMetric(float64((processorTime(b)-spent).Nanoseconds())/float64(b.N), "cpu-ns/frame")
	return rate
}

func benchBarePingPong(b *testing.B) float64 {
	client, server := bareTLS(b)
	go func() {
		buf := make([]byte, benchFrame)
		for {
			if _, err := io.ReadFull(server, buf); err != nil {
				return
			}
			if _, err := server.Write(buf); err != nil {
				return
			}
		}
	}()
	buf := make([]byte, benchFrame)
	return medianOf(b, func() {
		if _, err := client.Write(buf); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(client, buf); err != nil {
			b.Fatal(err)
		}
	})
}

func benchPingPong(b *testing.B) float64 {
	back := make(chan struct{}, 1)
	client := benchHub(b, func(s *ssntp.Server, f ssntp.Frame) {
		if f.Operand != ssntp.Place {
			return
		}
		if err := s.Send(ssntp.Frame{Operand: ssntp.Placed, Destination: f.Source, Payload: f.Payload}); err != nil {
			b.Error(err)
		}
	}, func(ssntp.Frame) { back <- struct{}{} })
	payload := binary.BigEndian.AppendUint64(make([]byte, benchPayload-8), 1)
	return medianOf(b, func() {
		if err := client.Send(b.Context(), ssntp.Frame{Operand: ssntp.Place, Payload: payload}); err != nil {
			b.Fatal(err)
		}
		<-back
	})
}

// medianOf reports the median time of a round in microseconds.
func medianOf(b *testing.B, round func()) float64 {
	b.Helper()
	times := make([]time.Duration, 0, b.N)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		start := time.Now()
		round()
		times = append(times, time.Since(start))
	}
	slices.Sort(times)
	median := float64(times[len(times)/2]) / float64(time.Microsecond)
	b.ReportMetric(median, "p50-µs")
	return median
}
