package apiserver_test

import (
	"errors"
	"io"
	"testing"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/apiserver/apiservertest"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/ssntp/certs"
)

// TestRevokedCallersRequestsEnd: those that would last for ever end, too; those of others go on.
func TestRevokedCallersRequestsEnd(t *testing.T) {
	a := apiservertest.NewCluster(t)
	other := running(t, a)
	file := a.Tenant(apiservertest.Blue)
	revoked := a.Client(file)
	ended := map[string]chan error{}
	start := func(what string, do func(begun io.Writer) error) {
		begun := make(lines)
		end := make(chan error, 1)
		ended[what] = end
		go func() { end <- do(begun) }()
		select {
		case <-begun:
		case err := <-end:
			t.Fatalf("%s did not begin: %v", what, err)
		}
	}
	exec := func(c *client.Client) func(io.Writer) error {
		return func(begun io.Writer) error {
			_, err := c.Exec(t.Context(), "web", client.Execution{Command: []string{"size"}, Input: silent{t.Context()}, Output: begun})
			return err
		}
	}
	start("command", exec(revoked))
	start("another caller's command", exec(other))
	start("log", func(begun io.Writer) error {
		return revoked.Logs(t.Context(), "web", client.Logs{Tail: -1, Follow: true}, begun)
	})
	start("watch", func(begun io.Writer) error {
		for change, err := range revoked.Watch(t.Context()) {
			if err != nil {
				return err
			}
			if change.Type == api.ChangeResync {
				_, _ = io.WriteString(begun, "resync")
			}
		}
		return nil
	})
	certificate, err := certs.LoadCertificate(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Authority.Revoke(a.Revoked(), certificate.SerialNumber); err != nil {
		t.Fatal(err)
	}
	for what, class := range map[string]error{"command": cluster.ErrUnavailable, "log": cluster.ErrUnavailable, "watch": cluster.ErrPermission} {
		if err := <-ended[what]; !errors.Is(err, class) {
			t.Errorf("%s of a revoked caller: %v, want %v", what, err, class)
		}
	}
	select {
	case err := <-ended["another caller's command"]:
		t.Errorf("another caller's command ended, too: %v", err)
	default:
	}
}
