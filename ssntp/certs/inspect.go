package certs

import (
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"strings"
	"time"

	"github.com/ciaocloud/ciao/ssntp"
)

// Summary is what a person wants to know about a certificate.
type Summary struct {
	Kind        string // "authority", "node", "user" or "server"
	Name        string // CommonName
	Identity    ssntp.Identity
	Tenants     []string
	Names       []string // DNS names and addresses
	Issuer      string
	NotBefore   time.Time
	NotAfter    time.Time
	Serial      string // hexadecimal
	Fingerprint string // SHA-256 of the certificate, hexadecimal
}

// Inspect summarises a certificate without verifying it.
func Inspect(c *x509.Certificate) Summary {
	s := Summary{
		Kind: "server", Name: c.Subject.CommonName, Tenants: c.Subject.Organization,
		Names: append([]string(nil), c.DNSNames...), Issuer: c.Issuer.CommonName,
		NotBefore: c.NotBefore, NotAfter: c.NotAfter,
		Serial: c.SerialNumber.Text(16), Fingerprint: fmt.Sprintf("%x", sha256.Sum256(c.Raw)),
	}
	for _, ip := range c.IPAddresses {
		s.Names = append(s.Names, ip.String())
	}
	identity, err := ssntp.IdentityOf(c)
	switch {
	case c.IsCA:
		s.Kind = "authority"
	case err == nil:
		s.Kind, s.Identity = "node", identity
	case len(s.Tenants) > 0:
		s.Kind = "user"
	}
	return s
}

// String is several lines of text for a terminal.
func (s Summary) String() string {
	var b strings.Builder
	line := func(label, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-12s %s\n", label, value)
		}
	}
	line("kind", s.Kind)
	line("name", s.Name)
	if s.Kind == "node" {
		line("id", s.Identity.ID.String())
		line("roles", s.Identity.Roles.String())
	}
	line("tenants", strings.Join(s.Tenants, ", "))
	line("names", strings.Join(s.Names, ", "))
	line("issuer", s.Issuer)
	line("valid from", s.NotBefore.UTC().Format(time.RFC3339))
	line("valid until", s.NotAfter.UTC().Format(time.RFC3339))
	line("serial", s.Serial)
	line("sha256", s.Fingerprint)
	return b.String()
}
