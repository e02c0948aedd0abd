package daemon

import (
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/ssntp"
	"github.com/ciaocloud/ciao/ssntp/certs"
)

// identity is who a daemon's certificate says that it is. A certificate that no peer would accept is an error at the start, which
// can be explained, rather than a connection that never comes about.
func (e Environment) identity(certificate, key string, roles ssntp.Role) (ssntp.Identity, error) {
	pair, err := certs.Load(certificate, key)
	if err != nil {
		return ssntp.Identity{}, err
	}
	roots, err := certs.LoadPool(e.Config.PKI.CAFile())
	if err != nil {
		return ssntp.Identity{}, err
	}
	if err := valid(pair.Certificate, roots, time.Now()); err != nil {
		return ssntp.Identity{}, fmt.Errorf("%w: the certificate %s %w; have another one issued", cluster.ErrPermission, certificate, err)
	}
	self, err := ssntp.IdentityOf(pair.Certificate)
	if err != nil {
		return self, fmt.Errorf("%w: the certificate %s is not one of a daemon: %w", cluster.ErrPermission, certificate, err)
	}
	if self.Roles&roles == 0 {
		return self, fmt.Errorf("%w: the certificate %s has the role %s, and %s is needed here; have one issued with that role", cluster.ErrPermission, certificate, self.Roles, roles)
	}
	return self, nil
}

// revocations is the cluster's list of revoked certificates, as it is whenever it is asked.
func (e Environment) revocations(logger *slog.Logger) (*certs.Revocations, error) {
	authority, err := certs.LoadCertificate(e.Config.PKI.CAFile())
	if err != nil {
		return nil, err
	}
	return certs.WatchRevocations(e.Config.PKI.Revoked, authority, logger)
}

// valid says in words what is wrong with a certificate.
func valid(certificate *x509.Certificate, roots *x509.CertPool, now time.Time) error {
	_, err := certificate.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	switch {
	case now.After(certificate.NotAfter):
		return fmt.Errorf("has expired on %s", certificate.NotAfter.Format(time.DateOnly))
	case now.Before(certificate.NotBefore):
		return fmt.Errorf("is valid from %s on only", certificate.NotBefore.Format(time.RFC3339))
	case errors.As(err, &x509.UnknownAuthorityError{}):
		return errors.New("was issued by another authority than this cluster's")
	}
	return err
}
