// Package ssntptest helps to test whatever speaks SSNTP: an authority in
// memory, a network of pipes whose connections can be cut or frozen, a
// ready-made [Hub], a [Log] that records what happens, and a scripted [Peer]
// that was written from docs/ssntp.md and shares no code with package ssntp, so
// that it also proves the document.
package ssntptest

import (
	"crypto/tls"
	"crypto/x509"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/ssntp"
	"github.com/ciaocloud/ciao/ssntp/certs"
)

// ServerName is the DNS name in the certificates of servers made here.
const ServerName = "hub.test"

// Address is where clients dial a [Hub] on its [Network].
const Address = ServerName + ":8888"

// CA is an authority for one test.
type CA struct {
	tb        testing.TB
	authority *certs.Authority
}

// NewCA makes an authority.
func NewCA(tb testing.TB) *CA {
	tb.Helper()
	authority, err := certs.NewAuthority("test authority", 0)
	if err != nil {
		tb.Fatalf("make an authority: %v", err)
	}
	return &CA{tb: tb, authority: authority}
}

// Authority is for issuing by hand.
func (c *CA) Authority() *certs.Authority { return c.authority }

// Roots verify the certificates of this authority.
func (c *CA) Roots() *x509.CertPool { return c.authority.Pool() }

// Certificate issues one for a node with the roles, valid for an hour. It is a
// server's too, with the names ServerName and 127.0.0.1.
func (c *CA) Certificate(id ssntp.ID, roles ssntp.Role) *tls.Certificate {
	c.tb.Helper()
	return c.CertificateFor(id, roles, time.Hour)
}

// CertificateFor is Certificate with another lifetime.
func (c *CA) CertificateFor(id ssntp.ID, roles ssntp.Role, lifetime time.Duration) *tls.Certificate {
	c.tb.Helper()
	subject := certs.Node(id, roles, ServerName, "127.0.0.1", "localhost")
	subject.Lifetime = lifetime
	pair, err := c.authority.Issue(subject)
	if err != nil {
		c.tb.Fatalf("issue a certificate: %v", err)
	}
	return pair.TLS()
}

// Source always returns the same certificate.
func Source(certificate *tls.Certificate) func() (*tls.Certificate, error) {
	return func() (*tls.Certificate, error) { return certificate, nil }
}
