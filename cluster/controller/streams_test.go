package controller

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/cluster/stream"
	"github.com/ciaocloud/ciao/cluster/stream/streamtest"
)

// serve has the nodes join their streams and print.
func (w *world) serve() {
	w.fake.with(func() {
		w.fake.onStream = func(node string, o payload.OpenStream) {
			err := w.join(node, o.Stream, o.Secret, func(_ context.Context, ends stream.Ends) (int, error) {
				_, err := fmt.Fprintf(ends.Output, "%s logs=%v exec=%v", o.Controller, o.Logs != nil, o.Exec != nil)
				return 5, err
			})
			if err != nil && w.ctx.Err() == nil { // the test may be over before this goroutine is
				w.t.Errorf("the node's request: %v", err)
			}
		}
	})
}

// join is a node's request, and what it does when it is let in.
func (w *world) join(node, id, secret string, run func(context.Context, stream.Ends) (int, error)) error {
	return w.c.JoinStream(w.ctx, node, id, secret, func() (stream.Conn, error) {
		atController, atNode := streamtest.Pipe()
		go func() { _ = stream.Serve(w.ctx, atNode, run) }() // the user's end says what became of it
		return atController, nil
	})
}

func (w *world) refused(what string, err, class error, says string) {
	w.t.Helper()
	if !errors.Is(err, class) || !strings.Contains(err.Error(), says) {
		w.t.Errorf("%s: %v, want %v that says %q", what, err, class, says)
	}
}

func TestStreamsReachTheNode(t *testing.T) {
	inWorld(t, func(w *world) {
		w.serve()
		w.create(1, "one")
		w.untilState(cluster.Active, 1)
		opens := map[string]func() (stream.Conn, error){
			"logs=true exec=false": func() (stream.Conn, error) { return w.c.OpenLogs(w.ctx, w.tenant.ID, "one", LogsRequest{Lines: -1}) },
			"logs=false exec=true": func() (stream.Conn, error) {
				return w.c.OpenExec(w.ctx, Operator, "one", ExecRequest{Command: []string{"true"}})
			},
		}
		for range MaxStreams { // an ended one makes room for another
			for want, open := range opens {
				conn, err := open()
				if err != nil {
					t.Fatal(err)
				}
				var out bytes.Buffer
				code, err := stream.Attend(w.ctx, conn, stream.Terminal{Output: &out})
				if code != 5 || err != nil || out.String() != "controller:8889 "+want {
					t.Fatalf("code %d, %v, %q, want %q", code, err, out.String(), want)
				}
			}
		}
	})
}

func TestStreamsThatAreRefused(t *testing.T) {
	inWorld(t, func(w *world) {
		w.serve()
		other := w.addTenant("blue")
		list := w.create(2, "web")
		exec := func(scope, ref string, command ...string) error {
			_, err := w.c.OpenExec(w.ctx, scope, ref, ExecRequest{Command: command})
			return err
		}
		logs := func(scope, ref string) error {
			_, err := w.c.OpenLogs(w.ctx, scope, ref, LogsRequest{Lines: -1})
			return err
		}
		w.refused("logs too early", logs(w.tenant.ID, "web-1"), cluster.ErrConflict, "printed nothing yet")
		w.refused("exec too early", exec(w.tenant.ID, "web-1", "true"), cluster.ErrConflict, "only an active one")
		w.untilState(cluster.Active, 2)
		console := func(scope, ref string) error {
			_, err := w.c.OpenConsole(w.ctx, scope, ref, false)
			return err
		}
		w.refused("a container's console", console(w.tenant.ID, "web-1"), cluster.ErrInvalid, "ciao exec -it web-1 -- sh")
		w.refused("another tenant's console", console(other.ID, list[0].ID), cluster.ErrNotFound, list[0].ID)
		w.refused("another tenant's logs", logs(other.ID, list[0].ID), cluster.ErrNotFound, list[0].ID)
		w.refused("another tenant's exec", exec(other.ID, list[0].ID, "true"), cluster.ErrNotFound, list[0].ID)
		w.refused("nothing to execute", exec(w.tenant.ID, "web-1"), cluster.ErrInvalid, "which command")
		w.refused("a long command", exec(w.tenant.ID, "web-1", strings.Repeat("x", maxCommand)), cluster.ErrTooLarge, "as its input")

		node := w.instance("web-1").Node
		w.fake.disconnect(node)
		w.refused("node away", logs(w.tenant.ID, "web-1"), cluster.ErrUnavailable, "not connected")
		w.untilState(cluster.Missing, 2)
		w.refused("missing", logs(w.tenant.ID, "web-1"), cluster.ErrConflict, "missing")
		w.fake.reconnect(node)
		w.untilState(cluster.Active, 2)

		w.fake.with(func() { w.fake.onStream = nil })
		began := time.Now()
		w.refused("a node that does not join", logs(w.tenant.ID, "web-1"), cluster.ErrTimeout, "did not answer within 10s")
		if waited := time.Since(began); waited != w.c.timing.Stream {
			t.Errorf("waited %s", waited)
		}
	})
}

func TestOnlyItsNodeJoinsAStream(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(1, "one")
		w.untilState(cluster.Active, 1)
		w.fake.with(func() {
			w.fake.onStream = func(node string, o payload.OpenStream) {
				idle := func(context.Context, stream.Ends) (int, error) { return 0, nil }
				w.refused("another node", w.join(other(node), o.Stream, o.Secret, idle), cluster.ErrNotFound, o.Stream)
				w.refused("another secret", w.join(node, o.Stream, o.Secret+"x", idle), cluster.ErrNotFound, o.Stream)
				w.refused("another stream", w.join(node, "x", o.Secret, idle), cluster.ErrNotFound, "x")
				if err := w.join(node, o.Stream, o.Secret, idle); err != nil {
					t.Error(err)
				}
				w.refused("twice", w.join(node, o.Stream, o.Secret, idle), cluster.ErrNotFound, o.Stream)
			}
		})
		conn, err := w.c.OpenLogs(w.ctx, w.tenant.ID, "one", LogsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Attend(w.ctx, conn, stream.Terminal{}); err != nil {
			t.Error(err)
		}
	})
}

func other(node string) string { return "f" + node[1:] }

func TestStreamsOfATenantAreLimited(t *testing.T) {
	inWorld(t, func(w *world) {
		w.serve()
		w.create(1, "one")
		w.untilState(cluster.Active, 1)
		var open []stream.Conn
		for range MaxStreams {
			conn, err := w.c.OpenLogs(w.ctx, w.tenant.ID, "one", LogsRequest{})
			if err != nil {
				t.Fatal(err)
			}
			open = append(open, conn)
		}
		_, err := w.c.OpenLogs(w.ctx, Operator, "one", LogsRequest{})
		w.refused("one too many", err, cluster.ErrOverQuota, "end one first")
		open[0].Close()
		conn, err := w.c.OpenLogs(w.ctx, w.tenant.ID, "one", LogsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		for _, conn := range append(open, conn) {
			conn.Close()
		}
	})
}
