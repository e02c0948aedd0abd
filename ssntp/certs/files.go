package certs

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	pemCertificate = "CERTIFICATE"
	pemRequest     = "CERTIFICATE REQUEST"
	pemKey         = "PRIVATE KEY"
)

// Pair is a certificate with its private key.
type Pair struct {
	Certificate *x509.Certificate
	Key         crypto.Signer
}

// TLS returns the form that crypto/tls and package ssntp use.
func (p *Pair) TLS() *tls.Certificate {
	return &tls.Certificate{Certificate: [][]byte{p.Certificate.Raw}, PrivateKey: p.Key, Leaf: p.Certificate}
}

// Save writes both to PEM files, each atomically; the key first, so that a
// certificate is never there without its key.
func (p *Pair) Save(certFile, keyFile string) error {
	if err := SaveKey(keyFile, p.Key); err != nil {
		return err
	}
	return SaveCertificate(certFile, p.Certificate)
}

// SaveKey writes a private key as PKCS #8 with mode 0600.
func SaveKey(file string, key crypto.Signer) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("certs: encode a key: %w", err)
	}
	return writeFile(file, encodePEM(pemKey, der), 0o600)
}

// SaveCertificate writes a certificate with mode 0644.
func SaveCertificate(file string, certificate *x509.Certificate) error {
	return writeFile(file, encodePEM(pemCertificate, certificate.Raw), 0o644)
}

// Load reads a certificate and its key, and checks that they belong together.
func Load(certFile, keyFile string) (*Pair, error) {
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("certs: load %s and %s: %w", certFile, keyFile, err)
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("certs: %s holds a key that cannot sign", keyFile)
	}
	return &Pair{Certificate: pair.Leaf, Key: key}, nil
}

// LoadKey reads a private key in PKCS #8.
func LoadKey(file string) (crypto.Signer, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("certs: read a key: %w", err)
	}
	key, err := x509.ParsePKCS8PrivateKey(derOf(b, pemKey))
	if err != nil {
		return nil, fmt.Errorf("certs: read the key in %s: %w", file, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("certs: %s holds a key that cannot sign", file)
	}
	return signer, nil
}

// LoadCertificate reads the first certificate of a PEM file.
func LoadCertificate(file string) (*x509.Certificate, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("certs: read a certificate: %w", err)
	}
	certificate, err := ParseCertificate(b)
	if err != nil {
		return nil, fmt.Errorf("%w (in %s)", err, file)
	}
	return certificate, nil
}

// ParseCertificate reads a certificate in PEM or DER.
func ParseCertificate(b []byte) (*x509.Certificate, error) {
	certificate, err := x509.ParseCertificate(derOf(b, pemCertificate))
	if err != nil {
		return nil, fmt.Errorf("certs: read a certificate: %w", err)
	}
	return certificate, nil
}

// LoadPool reads the authorities that peers are verified against.
func LoadPool(file string) (*x509.CertPool, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("certs: read authorities: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("certs: %s holds no certificate in PEM", file)
	}
	return pool, nil
}

// NewRequest makes a signing request for a key, in PEM.
func NewRequest(key crypto.Signer) ([]byte, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, fmt.Errorf("certs: make a signing request: %w", err)
	}
	return encodePEM(pemRequest, der), nil
}

func encodePEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// derOf returns the first block of a kind, or the input when it is not PEM.
func derOf(b []byte, kind string) []byte {
	rest := b
	for {
		block, more := pem.Decode(rest)
		if block == nil {
			return b
		}
		if block.Type == kind {
			return block.Bytes
		}
		rest = more
	}
}

// writeFile replaces a file in one step; after a crash there is the old one or
// the new one.
func writeFile(name string, content []byte, mode fs.FileMode) error {
	file, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return fmt.Errorf("certs: write %s: %w", name, err)
	}
	_, err = file.Write(content)
	err = errors.Join(err, file.Chmod(mode), file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), name)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("certs: write %s: %w", name, err), os.Remove(file.Name()))
	}
	return nil
}
