package scheduler_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/cluster/scheduler"
	"github.com/ciaocloud/ciao/ssntp"
	"github.com/ciaocloud/ciao/ssntp/certs"
	"github.com/ciaocloud/ciao/ssntp/ssntptest"
)

// A list that the controller sends is in force at once: the scheduler cuts who is on it, lets it in no more, and disturbs nobody else.
func TestRevokedPeerIsCutAtOnce(t *testing.T) {
	ca := ssntptest.NewCA(t)
	watch := func(file string) *certs.Revocations {
		t.Helper()
		list, err := certs.WatchRevocations(file, ca.Authority().Certificate, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	file, source := filepath.Join(t.TempDir(), "revoked.pem"), filepath.Join(t.TempDir(), "revoked.pem")
	revoked := watch(file)
	service, err := scheduler.New(scheduler.Config{
		Server: ssntp.ServerConfig{
			Certificate: ssntptest.Source(ca.Certificate(ssntp.NewID(), ssntp.RoleScheduler)), Roots: ca.Roots(), Admit: revoked.Admit,
			Limits: ssntp.Limits{Recheck: time.Hour},
		},
		Revocations: revoked,
	})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- service.Run(ctx, listener) }()
	t.Cleanup(func() { cancel(); <-ended })

	client := func(role ssntp.Role) (*ssntp.Client, *ssntptest.Log, *certs.Pair) {
		id, log := ssntp.NewID(), new(ssntptest.Log)
		pair, err := ca.Authority().Issue(certs.Node(id, role))
		if err != nil {
			t.Fatal(err)
		}
		made, _ := ssntptest.RunClient(t, ssntp.ClientConfig{
			Addresses: []string{listener.Addr().String()}, Certificate: ssntptest.Source(pair.TLS()), Roots: ca.Roots(), Handler: log.Handler(),
		})
		log.Connected(t)
		return made, log, pair
	}
	controller, _, _ := client(ssntp.RoleController)
	_, stolen, pair := client(ssntp.RoleAgent)
	_, honest, _ := client(ssntp.RoleAgent)
	if err := ca.Authority().Revoke(source, pair.Certificate.SerialNumber); err != nil {
		t.Fatal(err)
	}
	body, err := payload.Encode(payload.Revoke{List: watch(source).List()})
	if err != nil {
		t.Fatal(err)
	}
	if err := controller.Send(t.Context(), ssntp.Frame{Operand: ssntp.Revoke, Payload: body}); err != nil {
		t.Fatal(err)
	}
	stolen.Disconnected(t)
	if err := watch(file).Check(pair.Certificate); !errors.Is(err, certs.ErrRevoked) {
		t.Errorf("the next scheduler here would let it in: %v", err)
	}
	for _, event := range append(honest.Pending(), stolen.Pending()...) {
		if event.What != "frame" {
			t.Errorf("then came %v", event)
		}
	}
}
