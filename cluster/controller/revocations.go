package controller

import (
	"bytes"
	"time"

	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/ssntp"
)

// revocationsInterval is how often the list of revoked certificates is looked at.
const revocationsInterval = time.Second

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
