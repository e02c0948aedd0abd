package concentrator

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/ssntp/certs"
)

const (
	keyFile         = "key.pem"
	certificateFile = "certificate.pem"
	issueTimeout    = time.Minute
)

// identify makes sure that the concentrator has a key, and a certificate in the first half of its lifetime. When a renewal fails the old
// one is used as long as it is valid.
func (d *Driver) identify(ctx context.Context, c carrier) error {
	key, err := c.key()
	if err != nil {
		return err
	}
	left, share := c.valid(key, time.Now())
	if share > 0.5 {
		return nil
	}
	err = d.issue(ctx, c, key)
	if err != nil && left > 0 {
		d.logger.Warn("certificate not renewed yet", "cnci", c.id, "left", left, "error", err)
		return nil
	}
	return err
}

func (d *Driver) issue(ctx context.Context, c carrier, key crypto.Signer) error {
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return fmt.Errorf("make a certificate request for CNCI %s: %w", c.id, err)
	}
	limited, cancel := context.WithTimeoutCause(ctx, d.scaled(issueTimeout), cluster.ErrTimeout)
	defer cancel()
	chain, err := d.config.Issuer.Issue(limited, c.id, request)
	if err != nil {
		return fmt.Errorf("get a certificate for CNCI %s: %w", c.id, err)
	}
	leaf, err := leafOf(chain)
	if err != nil {
		return fmt.Errorf("%w: the certificate issued for CNCI %s cannot be read: %w", cluster.ErrInvalid, c.id, err)
	}
	if !belongs(leaf, key) {
		return fmt.Errorf("%w: the certificate issued for CNCI %s is for another key", cluster.ErrInvalid, c.id)
	}
	return c.replace(certificateFile, chain)
}

// key reads the private key, or makes it.
func (c carrier) key() (crypto.Signer, error) {
	key, err := certs.LoadKey(c.file(keyFile))
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if key, err = certs.NewKey(); err != nil {
		return nil, fmt.Errorf("make a key for CNCI %s: %w", c.id, err)
	}
	return key, certs.SaveKey(c.file(keyFile), key)
}

// valid is how long the certificate is still good, and which share of its lifetime that is; nothing when there is none, or when it is not good yet
// because the clock was put back.
func (c carrier) valid(key crypto.Signer, now time.Time) (left time.Duration, share float64) {
	chain, err := os.ReadFile(c.file(certificateFile))
	if err != nil {
		return 0, 0
	}
	leaf, err := leafOf(chain)
	if err != nil || !belongs(leaf, key) || now.Before(leaf.NotBefore) {
		return 0, 0
	}
	left = leaf.NotAfter.Sub(now)
	return left, float64(left) / float64(max(1, leaf.NotAfter.Sub(leaf.NotBefore)))
}

func leafOf(chain []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(chain)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("it holds no PEM certificate")
	}
	return x509.ParseCertificate(block.Bytes)
}

func belongs(leaf *x509.Certificate, key crypto.Signer) bool {
	mine, err := x509.MarshalPKIXPublicKey(key.Public())
	return err == nil && bytes.Equal(mine, leaf.RawSubjectPublicKeyInfo)
}
