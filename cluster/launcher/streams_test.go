package launcher_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/driver/simulate"
	"github.com/ciaocloud/ciao/cluster/launcher"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/cluster/stream"
	"github.com/ciaocloud/ciao/cluster/stream/streamtest"
	"github.com/ciaocloud/ciao/ssntp"
)

// exchange is a controller's API as a node dials it: a stream's user gets the other end.
type exchange struct {
	mu    sync.Mutex
	users map[string]chan stream.Conn
}

func (x *exchange) user(id string) chan stream.Conn {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.users[id] == nil {
		x.users[id] = make(chan stream.Conn, 1)
	}
	return x.users[id]
}

func (x *exchange) Dial(_ context.Context, address, id, secret string) (stream.Conn, error) {
	if address != "controller:8889" || secret != "secret" {
		return nil, cluster.ErrPermission
	}
	user, node := streamtest.Pipe()
	x.user(id) <- user
	return node, nil
}

// streaming is a node with the drivers, whose streams come to the exchange.
func (w *world) streaming(drivers ...driver.Driver) (*node, *exchange) {
	n, x := w.node(), &exchange{users: map[string]chan stream.Conn{}}
	n.drivers = drivers
	n.config = func(c *launcher.Config) { c.Streams = x }
	n.run()
	return n, x
}

// open asks the node for a stream and attends it.
func (x *exchange) open(n *node, o payload.OpenStream, input string) (out, errs string, code int, err error) {
	n.Helper()
	o.Stream, o.Secret, o.Controller = n.Name()+o.Instance, "secret", "controller:8889"
	n.send(ssntp.OpenStream, n.id.String(), o)
	var output, errors bytes.Buffer
	code, err = stream.Attend(n.Context(), <-x.user(o.Stream), stream.Terminal{Input: strings.NewReader(input), Output: &output, Errors: &errors})
	return output.String(), errors.String(), code, err
}

func TestLogsAndCommandsOfAnInstance(t *testing.T) {
	w := newWorld(t)
	n, x := w.streaming(simulate.New(simulate.NewEngine(simulate.Config{})))
	s := newStart(1)
	w.send(ssntp.Start, n.id.String(), s)
	w.becomes(s.Instance, cluster.Active)

	out, _, code, err := x.open(n, payload.OpenStream{Instance: s.Instance, Logs: &payload.Logs{Lines: -1}}, "")
	if out != "started\n" || code != 0 || err != nil {
		t.Errorf("log %q, code %d, %v", out, code, err)
	}
	out, _, code, err = x.open(n, payload.OpenStream{Instance: s.Instance, Exec: &payload.Exec{Command: []string{"cat"}, Input: true}}, "given")
	if out != "given" || code != 0 || err != nil {
		t.Errorf("cat prints %q, code %d, %v", out, code, err)
	}
	out, errs, code, err := x.open(n, payload.OpenStream{Instance: s.Instance, Exec: &payload.Exec{Command: []string{"warn", "a", "b"}}}, "")
	if out != "" || errs != "a b\n" || code != 0 || err != nil {
		t.Errorf("warn prints %q and %q, code %d, %v", out, errs, code, err)
	}
	if _, _, code, err = x.open(n, payload.OpenStream{Instance: s.Instance, Exec: &payload.Exec{Command: []string{"exit", "7"}}}, ""); code != 7 || err != nil {
		t.Errorf("exit 7: code %d, %v", code, err)
	}
}

func TestStreamsThatTheNodeRefuses(t *testing.T) {
	w := newWorld(t)
	logs := &payload.Logs{Lines: -1}
	n, x := w.streaming(w.node().driver) // a driver without logs and commands
	s := newStart(1)
	w.send(ssntp.Start, n.id.String(), s)
	w.becomes(s.Instance, cluster.Active)
	for _, test := range []struct {
		name  string
		open  payload.OpenStream
		class error
		says  string
	}{
		{"unknown instance", payload.OpenStream{Instance: "99999999-9999-4999-8999-999999999999", Logs: logs}, cluster.ErrNotFound, "does not have"},
		{"no log", payload.OpenStream{Instance: s.Instance, Logs: logs}, cluster.ErrInvalid, "kind container keep no log"},
		{"no commands", payload.OpenStream{Instance: s.Instance, Exec: &payload.Exec{Command: []string{"true"}}}, cluster.ErrInvalid, "no command can be executed"},
		{"no console", payload.OpenStream{Instance: s.Instance, Console: &payload.Console{}}, cluster.ErrInvalid, "kind container have no console"},
		{"neither", payload.OpenStream{Instance: s.Instance}, cluster.ErrInvalid, "does not know"},
	} {
		if _, _, _, err := x.open(n, test.open, ""); !errors.Is(err, test.class) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v, want %v that says %q", test.name, err, test.class, test.says)
		}
	}
}
