package certs

import (
	"cmp"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"time"

	"github.com/ciaocloud/ciao/ssntp"
)

// Subject is what a certificate says about its holder.
type Subject struct {
	// Identity makes it a node's certificate: both fields are required then.
	Identity ssntp.Identity
	// User and Tenants make it a user's: CommonName and Organization.
	User    string
	Tenants []string
	// Names are DNS names and IP addresses of a server. With neither identity
	// nor user it is the certificate of an HTTPS server.
	Names []string
	// Lifetime from now; zero means LeafLifetime. It never exceeds that of the
	// authority.
	Lifetime time.Duration
}

// Node is the subject of a daemon's certificate. A scheduler's needs the names
// under which its clients dial it.
func Node(id ssntp.ID, roles ssntp.Role, names ...string) Subject {
	return Subject{Identity: ssntp.Identity{ID: id, Roles: roles}, Names: names}
}

// User is the subject of a user's certificate.
func User(name string, tenants ...string) Subject {
	return Subject{User: name, Tenants: tenants}
}

// Web is the subject of an HTTPS server's certificate.
func Web(names ...string) Subject { return Subject{Names: names} }

// Issue makes a key and a certificate for it.
func (a *Authority) Issue(s Subject) (*Pair, error) {
	key, err := NewKey()
	if err != nil {
		return nil, err
	}
	certificate, err := a.sign(s, key.Public())
	if err != nil {
		return nil, err
	}
	return &Pair{Certificate: certificate, Key: key}, nil
}

// Sign makes a certificate for the key of a signing request in PEM or DER. It
// takes nothing else from the request. It returns PEM.
func (a *Authority) Sign(request []byte, s Subject) ([]byte, error) {
	parsed, err := x509.ParseCertificateRequest(derOf(request, pemRequest))
	if err != nil {
		return nil, fmt.Errorf("certs: read the signing request: %w", err)
	}
	if err := parsed.CheckSignature(); err != nil {
		return nil, fmt.Errorf("certs: the signing request is not signed by its own key: %w", err)
	}
	certificate, err := a.sign(s, parsed.PublicKey)
	if err != nil {
		return nil, err
	}
	return encodePEM(pemCertificate, certificate.Raw), nil
}

func (a *Authority) sign(s Subject, public crypto.PublicKey) (*x509.Certificate, error) {
	if err := s.validate(); err != nil {
		return nil, err
	}
	template, err := newTemplate(cmp.Or(s.Lifetime, LeafLifetime))
	if err != nil {
		return nil, err
	}
	if !time.Now().Before(a.Certificate.NotAfter) {
		return nil, fmt.Errorf("certs: the authority %q expired at %v: make a new one", a.Certificate.Subject.CommonName, a.Certificate.NotAfter)
	}
	if template.NotAfter.After(a.Certificate.NotAfter) {
		template.NotAfter = a.Certificate.NotAfter
	}
	s.fill(template)
	return create(template, a.Certificate, public, a.key)
}

func (s *Subject) validate() error {
	node := s.Identity != (ssntp.Identity{})
	switch {
	case node && (s.Identity.ID.IsZero() || s.Identity.Roles == 0):
		return errors.New("certs: a node's certificate needs an id and at least one role")
	case node && s.User != "":
		return errors.New("certs: a certificate is for a node or for a user, not for both")
	case s.User != "" && len(s.Tenants) == 0:
		return fmt.Errorf("certs: the certificate of user %q needs at least one tenant", s.User)
	case s.User == "" && len(s.Tenants) > 0:
		return errors.New("certs: a certificate with tenants needs the name of a user")
	case !node && s.User == "" && len(s.Names) == 0:
		return errors.New("certs: a certificate needs an identity, a user or the names of a server")
	case slices.Contains(s.Names, ""):
		return errors.New("certs: a server name is empty")
	}
	return nil
}

func (s *Subject) fill(template *x509.Certificate) {
	template.KeyUsage = x509.KeyUsageDigitalSignature
	for _, name := range s.Names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	if len(s.Names) > 0 {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	switch {
	case s.Identity.Roles != 0:
		template.Subject = pkix.Name{CommonName: s.Identity.Roles.String() + " " + s.Identity.ID.String()}
		template.URIs = []*url.URL{s.Identity.URI()}
		template.UnknownExtKeyUsage = s.Identity.Roles.OIDs()
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	case s.User != "":
		template.Subject = pkix.Name{CommonName: s.User, Organization: s.Tenants}
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	default:
		template.Subject = pkix.Name{CommonName: s.Names[0]}
	}
}
