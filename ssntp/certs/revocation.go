package certs

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"os"
	"sync"
	"time"

	"github.com/ciaocloud/ciao/ssntp"
)

const pemRevocations = "X509 CRL"

// ErrRevoked: the certificate is on the list of its authority.
var ErrRevoked = errors.New("it is revoked")

// Revoke adds serial numbers to the authority's list (RFC 5280) in a PEM file,
// and makes the file when there is none. The file is replaced in one step; of
// two processes that do it at the same time, one is lost.
func (a *Authority) Revoke(file string, serials ...*big.Int) error {
	old, err := loadRevocations(file, a.Certificate)
	if errors.Is(err, fs.ErrNotExist) {
		old = &x509.RevocationList{Number: new(big.Int)}
	} else if err != nil {
		return err
	}
	now := time.Now()
	list := &x509.RevocationList{
		Number:     new(big.Int).Add(old.Number, big.NewInt(1)),
		ThisUpdate: now, NextUpdate: a.Certificate.NotAfter, // it stands until it is replaced
		RevokedCertificateEntries: old.RevokedCertificateEntries,
	}
	known := serialsOf(old)
	for _, serial := range serials {
		if !known[serial.String()] {
			known[serial.String()] = true
			entry := x509.RevocationListEntry{SerialNumber: serial, RevocationTime: now}
			list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, entry)
		}
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.Certificate, a.key)
	if err != nil {
		return fmt.Errorf("certs: sign a list of revoked certificates: %w", err)
	}
	return writeFile(file, encodePEM(pemRevocations, der), 0o644)
}

func loadRevocations(file string, authority *x509.Certificate) (*x509.RevocationList, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("certs: read revoked certificates: %w", err)
	}
	return parseRevocations(file, b, authority)
}

func parseRevocations(file string, b []byte, authority *x509.Certificate) (*x509.RevocationList, error) {
	list, err := x509.ParseRevocationList(derOf(b, pemRevocations))
	if err != nil {
		return nil, fmt.Errorf("certs: %s is not a list of revoked certificates: %w", file, err)
	}
	if err := list.CheckSignatureFrom(authority); err != nil {
		return nil, fmt.Errorf("certs: the list in %s is not of the authority %q: %w", file, authority.Subject.CommonName, err)
	}
	if list.Number == nil {
		list.Number = new(big.Int)
	}
	return list, nil
}

func serialsOf(list *x509.RevocationList) map[string]bool {
	serials := make(map[string]bool)
	for _, entry := range list.RevokedCertificateEntries {
		serials[entry.SerialNumber.String()] = true
	}
	return serials
}

// Revocations is an authority's list in a file that may be replaced. Its methods
// may be called from any goroutine.
type Revocations struct {
	file      string
	authority *x509.Certificate
	logger    *slog.Logger

	mu      sync.Mutex
	seen    fs.FileInfo // of the file that was read last, whatever was in it; nil without one
	revoked map[string]bool
	list    *x509.RevocationList // in force; nil without one
}

// WatchRevocations reads a list. Without the file nothing is revoked, until
// there is one. A file that cannot be read, or is not the authority's, is an
// error here; later it is told to the logger, and the list before it stays in
// force.
func WatchRevocations(file string, authority *x509.Certificate, logger *slog.Logger) (*Revocations, error) {
	r := &Revocations{file: file, authority: authority, logger: logger}
	if err := r.refresh(); err != nil {
		return nil, err
	}
	return r, nil
}

// Check is ErrRevoked, wrapped, for a certificate on the list, which is read
// again first if it was replaced. That costs little: it may be called for every
// request.
func (r *Revocations) Check(certificate *x509.Certificate) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tryRefresh()
	if r.revoked[certificate.SerialNumber.String()] && bytes.Equal(certificate.RawIssuer, r.authority.RawSubject) {
		return fmt.Errorf("%w (%s, serial %x)", ErrRevoked, certificate.Subject.CommonName, certificate.SerialNumber)
	}
	return nil
}

// Admit is Check in the form that [ssntp.ServerConfig] wants.
func (r *Revocations) Admit(_ ssntp.Identity, certificate *x509.Certificate) error {
	return r.Check(certificate)
}

// refresh reads the file if it is another one than before. It tells of each bad
// file once.
func (r *Revocations) refresh() error {
	now, err := os.Stat(r.file)
	if errors.Is(err, fs.ErrNotExist) && r.seen == nil {
		return nil
	}
	if err == nil && r.seen != nil && sameFile(now, r.seen) {
		return nil
	}
	r.seen = now // nil if it has gone
	if err != nil {
		return fmt.Errorf("certs: read revoked certificates: %w", err)
	}
	list, err := loadRevocations(r.file, r.authority)
	if err != nil {
		return err
	}
	r.enforce(list)
	return nil
}

func (r *Revocations) enforce(list *x509.RevocationList) { r.list, r.revoked = list, serialsOf(list) }

// List is the list in force, DER (RFC 5280), for Take elsewhere; nil without one.
func (r *Revocations) List() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tryRefresh()
	if r.list == nil {
		return nil
	}
	return r.list.Raw
}

// Newer says whether there is a list in force that ought to take the place of
// another one (DER): it was made later, or the other is not the authority's.
func (r *Revocations) Newer(than []byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tryRefresh()
	if r.list == nil {
		return false
	}
	other, err := parseRevocations("the other list", encodePEM(pemRevocations, than), r.authority)
	return err != nil || r.list.Number.Cmp(other.Number) > 0
}

// Take brings a list in force that came from elsewhere, and puts it into the
// file. Nobody but the authority can make one, and an older one than that in
// force changes nothing, whoever sends it. After an error of the file the list is
// in force all the same, until this process ends.
func (r *Revocations) Take(der []byte) error {
	list, err := parseRevocations("what was received", encodePEM(pemRevocations, der), r.authority)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tryRefresh()
	if r.list != nil && list.Number.Cmp(r.list.Number) <= 0 {
		return nil
	}
	r.enforce(list)
	if err := writeFile(r.file, encodePEM(pemRevocations, der), 0o644); err != nil {
		return fmt.Errorf("certs: keep revoked certificates: %w", err)
	}
	return nil
}

func (r *Revocations) tryRefresh() {
	if err := r.refresh(); err != nil {
		r.logger.Error("the new list of revoked certificates is not used, the one before it is", "file", r.file, "error", err)
	}
}
