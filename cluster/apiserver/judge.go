package apiserver

import (
	"context"
	"crypto/x509"
	"fmt"
	"sync"
	"time"

	"github.com/ciaocloud/ciao/cluster"
)

// judgeAgain is the default of Config.JudgeAgain.
const judgeAgain = 5 * time.Second

// running are the requests under way. Some last for days (a log that is followed, a watch): all are judged again and again, and end soon
// after their caller's certificate has expired or was revoked.
type running struct {
	mu       sync.Mutex
	requests map[*request]struct{}
}

type request struct {
	certificate *x509.Certificate
	end         context.CancelCauseFunc
}

// begin returns the context of a request, and what is to be called when the request is over.
func (r *running) begin(ctx context.Context, certificate *x509.Certificate) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	one := &request{certificate, cancel}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests[one] = struct{}{}
	return ctx, func() {
		cancel(nil)
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.requests, one)
	}
}

func (r *running) all() []*request {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]*request, 0, len(r.requests))
	for one := range r.requests {
		list = append(list, one)
	}
	return list
}

// judge ends requests whose caller has lost the right to them, until ctx ends.
func (s *Server) judge(ctx context.Context) {
	again := time.NewTicker(s.config.JudgeAgain)
	defer again.Stop()
	for {
		select {
		case now := <-again.C:
			for _, one := range s.running.all() {
				if err := s.stillGood(one.certificate, now); err != nil {
					one.end(fmt.Errorf("%w: %w", cluster.ErrPermission, err))
				}
			}
		case <-ctx.Done():
			return
		}
	}
}

// stillGood judges a certificate that was verified before.
func (s *Server) stillGood(certificate *x509.Certificate, now time.Time) error {
	if now.After(certificate.NotAfter) {
		return refusal(certificate, x509.CertificateInvalidError{Cert: certificate, Reason: x509.Expired})
	}
	if s.config.Admit == nil {
		return nil
	}
	if err := s.config.Admit(certificate); err != nil {
		return fmt.Errorf("the client certificate is not admitted: %w; ask an operator for a new one", err)
	}
	return nil
}
