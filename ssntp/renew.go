package ssntp

import (
	"context"
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"time"
)

// renewal is when a connection should be replaced by one with new certificates.
type renewal struct {
	own    time.Time // when a new certificate of our own is missed
	server time.Time // when the server should have a new one
}

func (l *link) renewal() renewal { return renewal{own: dueAt(l.own), server: dueAt(l.shown)} }

// dueAt is when two thirds of a certificate's life have passed, a little
// earlier by chance so that not all nodes come at once; when they have passed,
// it is after a tenth of the rest.
func dueAt(certificate *x509.Certificate) time.Time {
	life := certificate.NotAfter.Sub(certificate.NotBefore)
	due := certificate.NotBefore.Add(life/3*2 - time.Duration(rand.Int64N(int64(life/50)+1)))
	if now := time.Now(); !due.After(now) {
		return now.Add(max(certificate.NotAfter.Sub(now)/10, time.Second))
	}
	return due
}

// next is how long to wait until the certificates are looked at again.
func (r renewal) next(recheck time.Duration) time.Duration {
	return max(min(recheck, time.Until(r.own), time.Until(r.server)), 0)
}

// renew opens a second connection when there is a new certificate of our own,
// or when the server should have one. It is nil without an error when there is
// no need.
func (c *Client) renew(ctx context.Context, l *link, r *renewal) (*link, error) {
	own, err := ownCertificate(c.config.Certificate, c.identity)
	if err == nil && !own.Leaf.Equal(l.own) {
		return c.dial(ctx)
	}
	now := time.Now()
	if !now.Before(r.server) {
		return c.dial(ctx)
	}
	if err == nil && !now.Before(r.own) {
		r.own = dueAt(l.own)
		err = fmt.Errorf("the certificate expires at %v and there is no newer one: issue one", l.own.NotAfter)
	}
	return nil, err
}
