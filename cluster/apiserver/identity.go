package apiserver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/controller"
	"github.com/ciaocloud/ciao/ssntp"
)

// caller is who calls, by the verified certificate alone.
type caller struct {
	name    string
	admin   bool
	tenants []string
	proof   *x509.Certificate
}

type callerKey struct{}

func callerOf(ctx context.Context) caller {
	who, _ := ctx.Value(callerKey{}).(caller)
	return who
}

// authenticate lets only callers with a valid certificate pass. It judges at every request, not only at the handshake, so that a
// connection does not outlive the certificate that opened it; a request outlives it by Config.JudgeAgain at most.
func (s *Server) authenticate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, err := s.identify(r.TLS)
		if err != nil {
			s.refuse(w, r, err)
			return
		}
		start := time.Now()
		ctx, over := s.running.begin(context.WithValue(r.Context(), callerKey{}, who), who.proof)
		defer over()
		next.ServeHTTP(w, r.WithContext(ctx))
		s.logger.Debug("request", "method", r.Method, "path", r.URL.Path, "caller", who.name, "took", time.Since(start))
	})
}

// refuse answers who has no right to call at all.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, why error) {
	s.logger.Info("caller refused", "remote", r.RemoteAddr, "why", why)
	writeProblem(w, &api.Problem{Title: http.StatusText(http.StatusUnauthorized), Status: http.StatusUnauthorized, Code: "not-permitted", Detail: why.Error()})
}

// identify reads the caller from the connection's certificate.
func (s *Server) identify(connection *tls.ConnectionState) (caller, error) {
	leaf, err := s.verify(connection)
	if err != nil {
		return caller{}, err
	}
	if len(leaf.UnknownExtKeyUsage) > 0 || len(leaf.Subject.Organization) == 0 {
		return caller{}, errors.New("this is the certificate of a daemon, not of a user: an operator's or a tenant's is needed")
	}
	who := caller{name: leaf.Subject.CommonName, tenants: leaf.Subject.Organization, proof: leaf}
	who.admin = slices.Equal(leaf.Subject.Organization, []string{api.Admin})
	return who, nil
}

// identifyNode reads the id of a node from the connection's certificate.
func (s *Server) identifyNode(connection *tls.ConnectionState) (id string, proof *x509.Certificate, err error) {
	leaf, err := s.verify(connection)
	if err != nil {
		return "", nil, err
	}
	identity, err := ssntp.IdentityOf(leaf)
	if err != nil || identity.Roles&(ssntp.RoleAgent|ssntp.RoleNetAgent) == 0 {
		return "", nil, errors.New("this is for nodes: the certificate of a launcher is needed")
	}
	return identity.ID.String(), leaf, nil
}

// verify finds the connection's certificate to be of the cluster's authority.
func (s *Server) verify(connection *tls.ConnectionState) (*x509.Certificate, error) {
	if connection == nil || len(connection.PeerCertificates) == 0 {
		return nil, errors.New("the API needs a client certificate: set CIAO_CLIENT_CERT_FILE to yours")
	}
	leaf := connection.PeerCertificates[0]
	intermediates := x509.NewCertPool()
	for _, certificate := range connection.PeerCertificates[1:] {
		intermediates.AddCert(certificate)
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: s.config.ClientCAs, Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return nil, refusal(leaf, err)
	}
	return leaf, s.stillGood(leaf, time.Now())
}

func refusal(leaf *x509.Certificate, err error) error {
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		return fmt.Errorf("the client certificate is valid from %s to %s only: ask an operator for a new one",
			leaf.NotBefore.UTC().Format(time.RFC3339), leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) {
		return errors.New("the client certificate is not of this cluster's authority: use the one that came with this cluster")
	}
	return errors.New("the client certificate cannot be used here: " + err.Error())
}

// scope says whose things a request is about: the tenant that its query names, or the caller's only one, or all for an operator.
func (s *Server) scope(ctx context.Context, tenant string) (string, error) {
	who := callerOf(ctx)
	switch {
	case who.admin && tenant == "":
		return controller.Operator, nil
	case who.admin:
		found, _, err := s.config.UseCases.Tenant(ctx, controller.Operator, tenant)
		return found.ID, err
	case tenant == "" && len(who.tenants) == 1:
		return who.tenants[0], nil
	case tenant == "":
		return "", fmt.Errorf("%w: your certificate is for %d tenants: say which one (CIAO_TENANT_ID, or the query parameter tenant)", cluster.ErrInvalid, len(who.tenants))
	}
	for _, own := range who.tenants {
		if own == tenant {
			return own, nil
		}
		if found, _, err := s.config.UseCases.Tenant(ctx, own, own); err == nil && found.Name == tenant {
			return own, nil
		}
	}
	return "", fmt.Errorf("tenant %q: %w", tenant, cluster.ErrNotFound)
}

// owner is the scope of what must belong to one tenant.
func (s *Server) owner(ctx context.Context, tenant string) (string, error) {
	scope, err := s.scope(ctx, tenant)
	if err == nil && scope == controller.Operator {
		return "", fmt.Errorf("%w: an operator must say for which tenant (CIAO_TENANT_ID, --tenant, or the query parameter tenant)", cluster.ErrInvalid)
	}
	return scope, err
}

// operator refuses everybody else.
func operator(ctx context.Context) error {
	if callerOf(ctx).admin {
		return nil
	}
	return fmt.Errorf("%w: this needs an operator's certificate (CIAO_ADMIN_CLIENT_CERT_FILE)", cluster.ErrPermission)
}

func writeProblem(w http.ResponseWriter, problem *api.Problem) {
	w.Header().Set("Content-Type", problem.ContentType(""))
	w.WriteHeader(problem.Status)
	_ = json.NewEncoder(w).Encode(problem) // a caller that went away cannot be told
}
