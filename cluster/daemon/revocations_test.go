package daemon

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ciaocloud/ciao/cluster/controller"
	"github.com/ciaocloud/ciao/cluster/store/memstore"
	"github.com/ciaocloud/ciao/ssntp"
	"github.com/ciaocloud/ciao/ssntp/certs"
)

// sharing is a controller with its list of revoked certificates.
type sharing struct {
	file string
	list *certs.Revocations
}

// TestRevocationsReachEveryController: a controller that shares nothing but the store with the one beside the authority keeps the list, too, and
// the newest is everybody's, whoever had it first.
func TestRevocationsReachEveryController(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		authority, err := certs.NewAuthority("test", 0)
		must(t, err)
		var revoked [3]*certs.Pair
		for i := range revoked {
			revoked[i], err = authority.Issue(certs.Node(ssntp.NewID(), ssntp.RoleAgent))
			must(t, err)
		}
		memory := memstore.New()
		share := func(file string) (one sharing, stop func()) {
			one.file = file
			one.list, err = certs.WatchRevocations(file, authority.Certificate, slog.New(slog.DiscardHandler))
			must(t, err)
			db, err := memory.Open(t.Context(), controller.Schema(), nil)
			must(t, err)
			c, err := controller.New(controller.Config{Store: db, Revocations: one.list})
			must(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- c.ShareRevocations(ctx) }()
			return one, func() {
				cancel()
				must(t, <-ended)
				must(t, db.Close())
			}
		}
		directory := t.TempDir()
		knows := func(who string, one sharing, count int) {
			t.Helper()
			time.Sleep(3 * time.Second)
			kept, err := certs.WatchRevocations(one.file, authority.Certificate, slog.New(slog.DiscardHandler))
			must(t, err)
			for i, pair := range revoked {
				for where, list := range map[string]*certs.Revocations{"in force": one.list, "kept": kept} {
					if err := list.Check(pair.Certificate); errors.Is(err, certs.ErrRevoked) != (i < count) {
						t.Errorf("%s, %s: certificate %d of %d: %v", who, where, i, count, err)
					}
				}
			}
		}
		first, stopFirst := share(filepath.Join(directory, "first.pem"))
		second, stopSecond := share(filepath.Join(directory, "second.pem"))
		knows("the second, without a list", second, 0)
		must(t, authority.Revoke(first.file, revoked[0].Certificate.SerialNumber))
		knows("the second", second, 1)
		must(t, authority.Revoke(second.file, revoked[1].Certificate.SerialNumber))
		knows("the first", first, 2)
		stopFirst()
		stopSecond()
		third, stopThird := share(filepath.Join(directory, "third.pem")) // when all the others are gone
		knows("the third", third, 2)
		stopThird()
	})
}
