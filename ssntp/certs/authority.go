// Package certs makes and inspects the certificates of a cluster: an authority,
// certificates with roles for the daemons, certificates for users and for the
// HTTPS interface.
//
// An [Authority] signs. A node's certificate carries its roles as extended key
// usages and its id as the name ciao://node/<uuid>, where package ssntp reads
// them. A user's certificate carries the tenants in Organization and the user
// in CommonName. A private key never needs to leave the machine that uses it:
// [NewRequest] makes a signing request there and [Authority.Sign] answers it,
// with the names that the authority chooses, not those in the request.
//
// Files are PEM; private keys are written with mode 0600, atomically.
package certs

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// Default lifetimes.
const (
	AuthorityLifetime = 10 * 365 * 24 * time.Hour
	LeafLifetime      = 365 * 24 * time.Hour
)

// backdate allows for clocks that are a little behind.
const backdate = 5 * time.Minute

// Authority signs certificates. It is safe for use by several goroutines.
type Authority struct {
	Certificate *x509.Certificate
	key         crypto.Signer
}

// NewAuthority makes a self-signed authority with a new key. Zero lifetime
// means AuthorityLifetime. It cannot sign further authorities.
func NewAuthority(name string, lifetime time.Duration) (*Authority, error) {
	if name == "" {
		return nil, errors.New("certs: an authority needs a name")
	}
	key, err := NewKey()
	if err != nil {
		return nil, err
	}
	template, err := newTemplate(cmp.Or(lifetime, AuthorityLifetime))
	if err != nil {
		return nil, err
	}
	template.Subject = pkix.Name{CommonName: name}
	template.IsCA = true
	template.MaxPathLenZero = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	certificate, err := create(template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &Authority{Certificate: certificate, key: key}, nil
}

// LoadAuthority reads an authority from PEM files.
func LoadAuthority(certFile, keyFile string) (*Authority, error) {
	pair, err := Load(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	if !pair.Certificate.IsCA {
		return nil, fmt.Errorf("certs: %s is not an authority: it cannot sign certificates", certFile)
	}
	return &Authority{Certificate: pair.Certificate, key: pair.Key}, nil
}

// Save writes the authority to PEM files, the key with mode 0600.
func (a *Authority) Save(certFile, keyFile string) error {
	return (&Pair{Certificate: a.Certificate, Key: a.key}).Save(certFile, keyFile)
}

// Pool is for verifying peers against this authority alone.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.Certificate)
	return pool
}

// NewKey returns a new ECDSA P-256 private key.
func NewKey() (crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("certs: make a key: %w", err)
	}
	return key, nil
}

// newTemplate fills in what all certificates have. Times in certificates have
// whole seconds.
func newTemplate(lifetime time.Duration) (*x509.Certificate, error) {
	if lifetime < time.Second {
		return nil, fmt.Errorf("certs: a lifetime of %v is too short: use at least a second", lifetime)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("certs: make a serial number: %w", err)
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber:          serial.Add(serial, big.NewInt(1)),
		NotBefore:             now.Add(-backdate).Truncate(time.Second),
		NotAfter:              now.Add(lifetime).Truncate(time.Second),
		BasicConstraintsValid: true,
	}, nil
}

func create(template, parent *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
	if err != nil {
		return nil, fmt.Errorf("certs: sign: %w", err)
	}
	return x509.ParseCertificate(der)
}
