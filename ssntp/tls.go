package ssntp

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
)

// alpn is what both sides must offer.
const alpn = "ssntp/1"

func serverTLS(certificate *tls.Certificate, roots *x509.CertPool) *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		NextProtos:   []string{alpn},
		Certificates: []tls.Certificate{*certificate},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    roots,
		// A resumed handshake would not show the certificate again.
		SessionTicketsDisabled:      true,
		DynamicRecordSizingDisabled: true,
	}
}

func clientTLS(certificate *tls.Certificate, roots *x509.CertPool, serverName string) *tls.Config {
	return &tls.Config{
		MinVersion:                  tls.VersionTLS13,
		NextProtos:                  []string{alpn},
		Certificates:                []tls.Certificate{*certificate},
		RootCAs:                     roots,
		ServerName:                  serverName,
		DynamicRecordSizingDisabled: true,
	}
}

// loadCertificate asks the callback and reads the identity.
func loadCertificate(load func() (*tls.Certificate, error)) (*tls.Certificate, Identity, error) {
	certificate, err := load()
	if err != nil {
		return nil, Identity{}, fmt.Errorf("ssntp: load own certificate: %w", err)
	}
	if certificate == nil || len(certificate.Certificate) == 0 {
		return nil, Identity{}, errors.New("ssntp: load own certificate: there is none")
	}
	if certificate.Leaf == nil {
		leaf, err := x509.ParseCertificate(certificate.Certificate[0])
		if err != nil {
			return nil, Identity{}, fmt.Errorf("ssntp: load own certificate: %w", err)
		}
		copied := *certificate
		copied.Leaf = leaf
		certificate = &copied
	}
	identity, err := IdentityOf(certificate.Leaf)
	if err != nil {
		return nil, Identity{}, fmt.Errorf("ssntp: load own certificate: %w", err)
	}
	return certificate, identity, nil
}

// ownCertificate loads the certificate for one connection; its identity must
// not change during the life of a process.
func ownCertificate(load func() (*tls.Certificate, error), want Identity) (*tls.Certificate, error) {
	certificate, identity, err := loadCertificate(load)
	if err != nil {
		return nil, err
	}
	if identity.ID != want.ID || want.Roles&^identity.Roles != 0 {
		return nil, fmt.Errorf("ssntp: the new certificate is for %v, this process is %v: restart it to change its identity", identity, want)
	}
	return certificate, nil
}
