package certs_test

import (
	"bytes"
	"crypto/x509"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/ssntp"
	"github.com/ciaocloud/ciao/ssntp/certs"
	"github.com/google/go-cmp/cmp"
)

func newAuthority(t *testing.T) *certs.Authority {
	t.Helper()
	authority, err := certs.NewAuthority("test", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return authority
}

func TestIssue(t *testing.T) {
	id := ssntp.NewID()
	tests := map[string]struct {
		subject certs.Subject
		kind    string
		usage   x509.ExtKeyUsage
		name    string // to verify as a server
	}{
		"node":      {certs.Node(id, ssntp.RoleAgent|ssntp.RoleNetAgent), "node", x509.ExtKeyUsageClientAuth, ""},
		"scheduler": {certs.Node(id, ssntp.RoleScheduler, "sched.test", "127.0.0.1"), "node", x509.ExtKeyUsageServerAuth, "127.0.0.1"},
		"user":      {certs.User("ann", "t1", "t2"), "user", x509.ExtKeyUsageClientAuth, ""},
		"web":       {certs.Web("api.test", "::1"), "server", x509.ExtKeyUsageServerAuth, "api.test"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			authority := newAuthority(t)
			pair, err := authority.Issue(test.subject)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := pair.Certificate.Verify(x509.VerifyOptions{
				Roots: authority.Pool(), KeyUsages: []x509.ExtKeyUsage{test.usage}, DNSName: test.name,
			}); err != nil {
				t.Error(err)
			}
			summary := certs.Inspect(pair.Certificate)
			if summary.Kind != test.kind || summary.Identity != test.subject.Identity {
				t.Errorf("inspected as %+v", summary)
			}
			if diff := cmp.Diff(test.subject.Tenants, summary.Tenants); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(test.subject.Names, summary.Names); len(test.subject.Names) > 0 && diff != "" {
				t.Error(diff)
			}
			if pair.Certificate.NotAfter.After(authority.Certificate.NotAfter) {
				t.Error("the certificate outlives its authority")
			}
		})
	}
}

func TestIssueRefuses(t *testing.T) {
	tests := map[string]certs.Subject{
		"nobody":            {},
		"a node without id": certs.Node(ssntp.ID{}, ssntp.RoleAgent),
		"without role":      certs.Node(ssntp.NewID(), 0),
		"user without":      certs.User("ann"),
		"tenant without":    {Tenants: []string{"t"}},
		"both":              {Identity: ssntp.Identity{ID: ssntp.NewID(), Roles: 1}, User: "ann", Tenants: []string{"t"}},
		"empty server name": certs.Web(""),
		"negative lifetime": {Names: []string{"a"}, Lifetime: -time.Hour},
	}
	authority := newAuthority(t)
	for name, subject := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := authority.Issue(subject); err == nil {
				t.Error("issued")
			}
		})
	}
}

// TestSign: the key stays where the request was made, and the authority
// decides about everything else.
func TestSign(t *testing.T) {
	authority := newAuthority(t)
	dir := t.TempDir()
	keyFile, certFile := filepath.Join(dir, "key.pem"), filepath.Join(dir, "cert.pem")
	key, err := certs.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	if err := certs.SaveKey(keyFile, key); err != nil {
		t.Fatal(err)
	}
	if key, err = certs.LoadKey(keyFile); err != nil {
		t.Fatal(err)
	}
	request, err := certs.NewRequest(key)
	if err != nil {
		t.Fatal(err)
	}
	id := ssntp.NewID()
	signed, err := authority.Sign(request, certs.Node(id, ssntp.RoleCNCIAgent))
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := certs.ParseCertificate(signed)
	if err != nil {
		t.Fatal(err)
	}
	if err := certs.SaveCertificate(certFile, certificate); err != nil {
		t.Fatal(err)
	}
	own, err := certs.Source(certFile, keyFile, nil)()
	if err != nil {
		t.Fatal(err)
	}
	if identity, err := ssntp.IdentityOf(own.Leaf); err != nil || identity != (ssntp.Identity{ID: id, Roles: ssntp.RoleCNCIAgent}) {
		t.Errorf("signed for %v, %v", identity, err)
	}
	request[len(request)/2] ^= 1
	if _, err := authority.Sign(request, certs.Node(id, ssntp.RoleCNCIAgent)); err == nil {
		t.Error("a tampered request was signed")
	}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca.key")
	authority := newAuthority(t)
	for range 2 { // also over what is there
		if err := authority.Save(certFile, keyFile); err != nil {
			t.Fatal(err)
		}
	}
	for file, want := range map[string]fs.FileMode{certFile: 0o644, keyFile: 0o600} {
		if info, err := os.Stat(file); err != nil || info.Mode() != want {
			t.Errorf("%s has mode %v, %v; want %v", file, info.Mode(), err, want)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("the directory holds %v, %v", entries, err)
	}
	loaded, err := certs.LoadAuthority(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := loaded.Issue(certs.User("ann", "t"))
	if err != nil {
		t.Fatal(err)
	}
	if err := pair.Save(certFile+"2", keyFile+"2"); err != nil {
		t.Fatal(err)
	}
	if _, err := certs.LoadAuthority(certFile+"2", keyFile+"2"); err == nil || !strings.Contains(err.Error(), "not an authority") {
		t.Errorf("a user's certificate became an authority: %v", err)
	}
	if _, err := certs.Load(certFile, keyFile+"2"); err == nil {
		t.Error("a certificate was loaded with another's key")
	}
	if pool, err := certs.LoadPool(certFile); err != nil || !pool.Equal(authority.Pool()) {
		t.Errorf("the pool differs: %v", err)
	}
	if _, err := certs.LoadPool(keyFile); err == nil {
		t.Error("a key was loaded as a pool")
	}
	if err := pair.Save(filepath.Join(dir, "missing", "c"), filepath.Join(dir, "missing", "k")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("saved into a missing directory: %v", err)
	}
}

func TestSummaryText(t *testing.T) {
	authority := newAuthority(t)
	id := ssntp.NewID()
	pair, err := authority.Issue(certs.Node(id, ssntp.RoleScheduler, "s.test"))
	if err != nil {
		t.Fatal(err)
	}
	text := certs.Inspect(pair.Certificate).String()
	for _, want := range []string{id.String(), "scheduler", "s.test", "valid until"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	if kind := certs.Inspect(authority.Certificate).Kind; kind != "authority" {
		t.Errorf("the authority is inspected as %q", kind)
	}
}

func FuzzParseCertificate(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		if c, err := certs.ParseCertificate(in); err == nil {
			_ = certs.Inspect(c).String()
		}
	})
}

// A daemon that reads between the replacement of the key and that of the certificate goes on with the pair that it had.
func TestSourceWhileBothAreReplaced(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "own.pem"), filepath.Join(dir, "own.key")
	authority := newAuthority(t)
	var pairs [2]*certs.Pair
	for i := range pairs {
		var err error
		if pairs[i], err = authority.Issue(certs.Node(ssntp.NewID(), ssntp.RoleAgent)); err != nil {
			t.Fatal(err)
		}
	}
	first, second := pairs[0], pairs[1]
	if err := first.Save(certFile, keyFile); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	source := certs.Source(certFile, keyFile, slog.New(slog.NewTextHandler(&log, nil)))
	tells := func(when string, times int) {
		t.Helper()
		if n := strings.Count(log.String(), "cannot be used"); n != times {
			t.Errorf("%s the log has %d warnings, want %d:\n%s", when, n, times, &log)
		}
	}
	before, err := source()
	if err != nil {
		t.Fatal(err)
	}
	if err := certs.SaveKey(keyFile, second.Key); err != nil {
		t.Fatal(err)
	}
	if between, err := source(); err != nil || between != before {
		t.Errorf("between: %v, %v; want the pair from before", between, err)
	}
	if _, err := source(); err != nil {
		t.Error(err)
	}
	tells("after two looks at the same files", 1)
	if err := os.WriteFile(keyFile, []byte("half a k"), 0o600); err != nil {
		t.Fatal(err)
	}
	if damaged, err := source(); err != nil || damaged != before {
		t.Errorf("with a damaged file: %v, %v; want the pair from before", damaged, err)
	}
	tells("after another bad file", 2)
	if err := certs.SaveKey(keyFile, second.Key); err != nil {
		t.Fatal(err)
	}
	if _, err := certs.Source(certFile, keyFile, nil)(); err == nil {
		t.Error("one that has read no pair yet takes two that do not belong together")
	}
	if err := certs.SaveCertificate(certFile, second.Certificate); err != nil {
		t.Fatal(err)
	}
	if after, err := source(); err != nil || !after.Leaf.Equal(second.Certificate) {
		t.Errorf("after: %v; the new certificate is not taken", err)
	}
	tells("after the new pair", 2)
	if err := os.Remove(certFile); err != nil {
		t.Fatal(err)
	}
	if _, err := source(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a certificate that was taken away: %v", err)
	}
}
