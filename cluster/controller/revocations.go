package controller

import (
	"bytes"
	"context"
	"log/slog"
	"time"

	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/cluster/store"
	"github.com/ciaocloud/ciao/ssntp"
)

// revocationsInterval is how often the list of revoked certificates is looked at.
const revocationsInterval = time.Second

// revocationsRow is the list of revoked certificates, for controllers that have no authority. It proves itself by the authority's signature.
type revocationsRow struct {
	Key  string `json:"key"`
	List []byte `json:"list"` // DER (RFC 5280)
}

const newestRevocations = "newest"

// ShareRevocations keeps the list of revoked certificates that this controller has and the one in the store the same, which is the newer of
// the two, until ctx ends. Every controller runs it, also one that does not lead.
func (c *Controller) ShareRevocations(ctx context.Context) error {
	if c.revocations == nil {
		<-ctx.Done()
		return nil
	}
	again := time.NewTicker(revocationsInterval)
	defer again.Stop()
	var bad []byte // in the store, and told of
	for {
		stored, err := c.shareRevocations(ctx)
		if err != nil && ctx.Err() == nil && (stored == nil || !bytes.Equal(stored, bad)) {
			bad = stored
			c.logger.Warn("cannot share the list of revoked certificates with other controllers", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-again.C:
		}
	}
}

func (c *Controller) shareRevocations(ctx context.Context) (stored []byte, err error) {
	err = c.view(ctx, func(r store.Reader) error {
		stored = storedRevocations(r)
		return nil
	})
	if err != nil || bytes.Equal(stored, c.revocations.List()) {
		return stored, err
	}
	var bad error
	if stored != nil {
		bad = c.revocations.Take(stored)
	}
	if !c.revocations.Newer(stored) {
		return stored, bad
	}
	own := c.revocations.List()
	_, err = c.update(ctx, func(tx store.Tx) error {
		if !bytes.Equal(storedRevocations(tx), stored) {
			return nil // another controller was quicker: that is looked at the next time
		}
		return revocationLists.Put(tx, revocationsRow{newestRevocations, own})
	})
	return stored, err
}

// storedRevocations is the list in the store; nil without one.
func storedRevocations(r store.Reader) []byte {
	row, err := revocationLists.Get(r, newestRevocations)
	if err != nil {
		return nil
	}
	return row.List
}

// watchRevocations has the list looked at soon.
func (r *reconciler) watchRevocations(now time.Time) {
	if r.c.revocations != nil {
		r.deadlines.set(subject{kind: ofRevocations}, now.Add(revocationsInterval))
	}
}

// tellRevocations tells everybody of the list of revoked certificates when it is another one than before.
func (r *reconciler) tellRevocations() {
	if list := r.c.revocations.List(); r.linked && !bytes.Equal(list, r.revoked) {
		r.order(ssntp.Revoke, "", payload.Revoke{List: list})
		r.revoked = list
	}
}

// tellRevocationsTo tells a node that has just come.
func (r *reconciler) tellRevocationsTo(node string) {
	if len(r.revoked) > 0 {
		r.order(ssntp.Revoke, node, payload.Revoke{List: r.revoked})
	}
}
