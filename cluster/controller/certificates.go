package controller

import (
	"context"
	"log/slog"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/cluster/store"
	"github.com/ciaocloud/ciao/ssntp"
)

// signTimeout bounds the making of a certificate.
const signTimeout = 10 * time.Second

// certificateRequest signs for a CNCI that is placed on the very node that asks, and for nothing else.
func (r *reconciler) certificateRequest(ctx context.Context, node string, body payload.CertificateRequest) {
	answer := payload.Certificate{Instance: body.Instance}
	allowed := false
	r.peek(func(view store.Reader) {
		i, err := instances.Get(view, body.Instance)
		allowed = err == nil && i.Host() && i.Node == node && i.Desired == cluster.WantActive
	})
	switch {
	case !allowed:
		answer.Refused = "no CNCI of this id is placed on this node"
	case r.c.issuer == nil:
		answer.Refused = "this controller cannot sign certificates"
	}
	if answer.Refused != "" {
		r.log.Warn("a certificate was refused", slog.String("node", node), slog.String("instance", clip(body.Instance)), slog.String("reason", answer.Refused))
		r.order(ssntp.Certificate, node, answer)
		return
	}
	r.tasks.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, signTimeout)
		defer cancel()
		chain, err := r.c.issuer.Issue(ctx, body.Instance, body.CSR)
		if err != nil {
			r.log.Warn("cannot sign a certificate", slog.String("instance", body.Instance), slog.Any("error", err))
			answer.Refused = clip(err.Error())
		}
		answer.Chain = chain
		err = r.transmit(ctx, order{operand: ssntp.Certificate, destination: node, body: answer})
		r.c.counters.sent(ssntp.Certificate, err)
	})
}
