package launcher_test

import (
	"sync/atomic"
	"testing"

	"github.com/ciaocloud/ciao/cluster/launcher"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/ssntp"
)

type taken struct{ list atomic.Value }

func (t *taken) Take(list []byte) error {
	t.list.Store(string(list))
	return nil
}

// A node takes the list of revoked certificates that the controller sends to all.
func TestListOfRevokedCertificatesIsTaken(t *testing.T) {
	w := newWorld(t)
	n := w.node()
	revoked := &taken{}
	n.config = func(c *launcher.Config) { c.Revocations = revoked }
	n.run()
	body, err := payload.Encode(payload.Revoke{List: []byte("signed")})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.controller.Send(t.Context(), ssntp.Frame{Operand: ssntp.Revoke, Payload: body}); err != nil {
		t.Fatal(err)
	}
	s := newStart(1) // frames arrive in order: the answer to this one comes after the list was taken
	w.send(ssntp.Start, n.id.String(), s)
	n.eventually("an answer", func() bool { return w.states[s.Instance].Instance != "" })
	if got := revoked.list.Load(); got != "signed" {
		t.Errorf("taken is %v", got)
	}
}
