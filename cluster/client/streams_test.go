package client_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/cluster/stream"
)

func TestExecTellsThatTheControllerLeft(t *testing.T) {
	c := strange(t, func(w http.ResponseWriter, r *http.Request) {
		if conn, err := stream.Accept(w, r); err == nil {
			conn.Close()
		}
	})
	_, err := c.Exec(t.Context(), "web", client.Execution{Command: []string{"true"}, Output: io.Discard, Errors: io.Discard})
	wants(t, err, cluster.ErrUnavailable, "broke", "may still go on")
}

func TestExecAtWhatIsNoController(t *testing.T) {
	c := strange(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	_, err := c.Exec(t.Context(), "web", client.Execution{Command: []string{"true"}, Output: io.Discard, Errors: io.Discard})
	wants(t, err, nil, client.EnvController)
}

func TestExecOfALongCommand(t *testing.T) {
	c := strange(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	command := []string{"sh", "-c", strings.Repeat("\n", 30_000)} // each becomes three bytes
	_, err := c.Exec(t.Context(), "web", client.Execution{Command: command, Output: io.Discard, Errors: io.Discard})
	wants(t, err, cluster.ErrTooLarge, "as its input")
}

// TestLogsThatBreakOff: what came before is there, and the rest is known to be missing.
func TestLogsThatBreakOff(t *testing.T) {
	c := strange(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "one\n")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	var out bytes.Buffer
	err := c.Logs(t.Context(), "web", client.Logs{Tail: -1}, &out)
	wants(t, err, cluster.ErrUnavailable, "broke off")
	if out.String() != "one\n" {
		t.Errorf("output %q", out.String())
	}
}
