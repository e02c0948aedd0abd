package stream_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/stream"
	"github.com/ciaocloud/ciao/cluster/stream/streamtest"
)

type command = func(context.Context, stream.Ends) (int, error)

// joined is a stream whose node runs a command: the user's connection, and what becomes of the other two parties.
type joined struct {
	user         stream.Conn
	node         stream.Conn // for a test that breaks it
	served, join chan error
}

func join(ctx context.Context, run command) joined {
	user, atUser := streamtest.Pipe()
	atNode, node := streamtest.Pipe()
	j := joined{user, node, make(chan error, 1), make(chan error, 1)}
	go func() { j.join <- stream.Join(ctx, atUser, atNode) }()
	go func() { j.served <- stream.Serve(ctx, node, run) }()
	return j
}

// bubble runs a test in a bubble, which ends only when every goroutine has.
func bubble(t *testing.T, test func(t *testing.T)) { synctest.Test(t, test) }

func TestCommandHasItsEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := join(t.Context(), func(_ context.Context, ends stream.Ends) (int, error) {
			if size := <-ends.Sizes; size != (cluster.TerminalSize{Width: 300, Height: 70}) {
				t.Errorf("the terminal is %v", size)
			}
			_, err := io.Copy(ends.Output, ends.Input)
			fmt.Fprint(ends.Errors, "bad")
			return 7, err
		})
		sizes := make(chan cluster.TerminalSize, 1)
		sizes <- cluster.TerminalSize{Width: 300, Height: 70}
		given := strings.Repeat("0123456789", 100_000) // much more than the window
		var out, errs bytes.Buffer
		code, err := stream.Attend(t.Context(), j.user, stream.Terminal{Input: strings.NewReader(given), Output: &out, Errors: &errs, Sizes: sizes})
		if code != 7 || err != nil || out.String() != given || errs.String() != "bad" {
			t.Errorf("code %d, %v, %d bytes of output, errors %q", code, err, out.Len(), errs.String())
		}
		if err := errors.Join(<-j.served, <-j.join); err != nil {
			t.Error(err)
		}
	})
}

func TestErrorsKeepTheirClassAndWords(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := join(t.Context(), func(context.Context, stream.Ends) (int, error) {
			return 0, fmt.Errorf("%w: instance web does not run; start it first", cluster.ErrConflict)
		})
		_, err := stream.Attend(t.Context(), j.user, stream.Terminal{})
		if !errors.Is(err, cluster.ErrConflict) || err.Error() != "instance web does not run; start it first" {
			t.Errorf("the user is told %v", err)
		}
	})
}

// endless never ends by itself, and takes no input.
func endless(ctx context.Context, _ stream.Ends) (int, error) {
	<-ctx.Done()
	return 0, ctx.Err()
}

// TestUserWhoLeavesEndsTheCommand: also while the node has no room for his input.
func TestUserWhoLeavesEndsTheCommand(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := join(t.Context(), endless)
		ctx, leave := context.WithCancel(t.Context())
		attended := make(chan error, 1)
		input := &counted{Reader: zeros{}}
		go func() {
			_, err := stream.Attend(ctx, j.user, stream.Terminal{Input: input})
			attended <- err
		}()
		synctest.Wait()
		if input.n != stream.Window {
			t.Errorf("%d bytes of input were read, want the window of %d", input.n, stream.Window)
		}
		leave()
		if err := <-attended; !errors.Is(err, context.Canceled) {
			t.Errorf("the user's end: %v", err)
		}
		if err := <-j.served; !errors.Is(err, cluster.ErrUnavailable) {
			t.Errorf("the node's end: %v", err)
		}
		if err := <-j.join; err == nil || !strings.Contains(err.Error(), "the user left") {
			t.Errorf("between: %v", err)
		}
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

type counted struct {
	io.Reader
	n int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += n
	return n, err
}

func TestNodeThatLeavesIsToldOf(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := join(t.Context(), endless)
		attended := make(chan error, 1)
		go func() {
			_, err := stream.Attend(t.Context(), j.user, stream.Terminal{})
			attended <- err
		}()
		synctest.Wait()
		j.node.Close()
		if err := <-attended; !errors.Is(err, cluster.ErrUnavailable) || !strings.Contains(err.Error(), "node broke") {
			t.Errorf("the user is told %v", err)
		}
		<-j.served
		<-j.join
	})
}

// TestUserMayNotFloodTheNode: the bound of the input holds against a user who does not keep it.
func TestUserMayNotFloodTheNode(t *testing.T) {
	bubble(t, func(t *testing.T) {
		user, node := streamtest.Pipe()
		served := make(chan error, 1)
		go func() { served <- stream.Serve(t.Context(), node, endless) }()
		var err error
		for range stream.Window/stream.MaxData + 2 {
			if err = user.Write(t.Context(), stream.Message{Channel: stream.Input, Data: make([]byte, stream.MaxData)}); err != nil {
				break
			}
		}
		if serving := <-served; err == nil || !errors.Is(serving, cluster.ErrInvalid) {
			t.Errorf("the flood ends with %v, serving with %v", err, serving)
		}
	})
}

func TestStrangeMessagesEndAStream(t *testing.T) {
	for _, m := range []stream.Message{{Channel: stream.Output}, {Channel: 99}, {Channel: stream.Resized, Data: []byte{1}}} {
		bubble(t, func(t *testing.T) {
			user, node := streamtest.Pipe()
			served := make(chan error, 1)
			go func() { served <- stream.Serve(t.Context(), node, endless) }()
			if err := user.Write(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			if err := <-served; !errors.Is(err, cluster.ErrInvalid) {
				t.Errorf("%v: %v", m, err)
			}
		})
	}
}

// TestWebSocket: messages pass in both directions, and what was written before a close arrives.
func TestWebSocket(t *testing.T) {
	served := make(chan error, 1)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := stream.Accept(w, r)
		if err == nil {
			err = stream.Serve(r.Context(), conn, func(_ context.Context, ends stream.Ends) (int, error) {
				_, err := io.Copy(ends.Output, ends.Input)
				return 3, err
			})
		}
		served <- err
	}))
	defer server.Close()
	transport, ok := server.Client().Transport.(*http.Transport)
	if !ok {
		t.Fatal("the test server's client has no transport")
	}
	dialling, done := context.WithCancel(t.Context())
	conn, _, err := stream.Dial(dialling, &http.Client{Transport: stream.HTTP1(transport)}, server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	done() // the context of the dialling is that of the dialling only
	given := strings.Repeat("0123456789", 100_000)
	var out bytes.Buffer
	code, err := stream.Attend(t.Context(), conn, stream.Terminal{Input: strings.NewReader(given), Output: &out})
	if code != 3 || err != nil || out.String() != given {
		t.Errorf("code %d, %v, %d bytes of output", code, err, out.Len())
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// TestRefusedDialLeavesNoConnection: a controller that asks for many streams and is not there for them any more costs the node nothing.
func TestRefusedDialLeavesNoConnection(t *testing.T) {
	closed := make(chan struct{})
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			close(closed)
		}
	}
	server.StartTLS()
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	dialer := stream.Dialer{Roots: roots, Certificate: func() (*tls.Certificate, error) { return &tls.Certificate{}, nil }}
	if _, err := dialer.Dial(t.Context(), server.Listener.Addr().String(), "x", "secret"); !errors.Is(err, cluster.ErrUnavailable) {
		t.Fatal(err)
	}
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Error("the connection is still there")
	}
}

// TestNodeRefusesARevokedController: who has stolen a controller's certificate reads no output and sends no input.
func TestNodeRefusesARevokedController(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it was asked") }))
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	revoked := errors.New("revoked")
	dialer := stream.Dialer{
		Roots: roots, Certificate: func() (*tls.Certificate, error) { return &tls.Certificate{}, nil },
		Admit: func(certificate *x509.Certificate) error {
			if certificate.Equal(server.Certificate()) {
				return revoked
			}
			return nil
		},
	}
	if _, err := dialer.Dial(t.Context(), server.Listener.Addr().String(), "x", "secret"); !errors.Is(err, revoked) {
		t.Errorf("%v, want it to be refused", err)
	}
}
