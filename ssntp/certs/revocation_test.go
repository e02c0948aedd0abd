package certs_test

import (
	"errors"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ciaocloud/ciao/ssntp/certs"
)

func issued(t *testing.T, authority *certs.Authority) *certs.Pair {
	t.Helper()
	pair, err := authority.Issue(certs.User("ann", "t1"))
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// TestRevocations: the list is followed while it grows, and a bad one does not
// take the place of a good one.
func TestRevocations(t *testing.T) {
	authority, other := newAuthority(t), newAuthority(t)
	file := filepath.Join(t.TempDir(), "revoked.pem")
	var log strings.Builder
	list, err := certs.WatchRevocations(file, authority.Certificate, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	first, second, never := issued(t, authority), issued(t, authority), issued(t, authority)
	check := func(when string, revoked ...*certs.Pair) {
		t.Helper()
		for name, pair := range map[string]*certs.Pair{"first": first, "second": second, "never": never} {
			want := false
			for _, r := range revoked {
				want = want || r == pair
			}
			if err := list.Check(pair.Certificate); errors.Is(err, certs.ErrRevoked) != want {
				t.Errorf("%s: the %s certificate: %v", when, name, err)
			}
		}
	}
	revoke := func(pair *certs.Pair) {
		t.Helper()
		if err := authority.Revoke(file, pair.Certificate.SerialNumber, pair.Certificate.SerialNumber); err != nil {
			t.Fatal(err)
		}
	}
	check("without a list")
	revoke(first)
	check("with a list", first)
	revoke(second)
	check("with a longer list", first, second)
	for name, bad := range map[string]func() error{
		"nonsense":            func() error { return os.WriteFile(file, []byte("nonsense"), 0o644) },
		"nothing":             func() error { return os.Remove(file) },
		"another authority's": func() error { return other.Revoke(file, big.NewInt(7)) },
	} {
		log.Reset()
		os.Remove(file) // Revoke would refuse to extend nonsense
		if err := bad(); err != nil && name != "nothing" {
			t.Fatal(err)
		}
		check(name, first, second)
		if n := strings.Count(log.String(), "level=ERROR"); n != 1 && name != "nothing" {
			t.Errorf("%s: told %d times:\n%s", name, n, log.String())
		}
	}
	if err := authority.Revoke(filepath.Join(filepath.Dir(file), "fresh.pem"), big.NewInt(7)); err != nil {
		t.Fatal(err)
	}
	if _, err := certs.WatchRevocations(filepath.Join(filepath.Dir(file), "fresh.pem"), newAuthority(t).Certificate, slog.Default()); err == nil {
		t.Error("began with a bad list")
	}
}

// TestRevokedSerialOfAnotherAuthority: serial numbers are an authority's own.
func TestRevokedSerialOfAnotherAuthority(t *testing.T) {
	authority := newAuthority(t)
	other, err := certs.NewAuthority("another name", 0)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "revoked.pem")
	theirs := issued(t, other)
	if err := authority.Revoke(file, theirs.Certificate.SerialNumber); err != nil {
		t.Fatal(err)
	}
	list, err := certs.WatchRevocations(file, authority.Certificate, slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	if err := list.Check(theirs.Certificate); err != nil {
		t.Error(err)
	}
}

// TestRevokeKeepsABadList: what cannot be read is not overwritten.
func TestRevokeKeepsABadList(t *testing.T) {
	file := filepath.Join(t.TempDir(), "revoked.pem")
	if err := os.WriteFile(file, []byte("nonsense"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := newAuthority(t).Revoke(file, big.NewInt(1)); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("revoked into nonsense: %v", err)
	}
}

// TestReceivedListIsTaken: a list that came from elsewhere is in force at once and kept; none but a newer one of the authority is.
func TestReceivedListIsTaken(t *testing.T) {
	authority, other := newAuthority(t), newAuthority(t)
	watch := func(file string) *certs.Revocations {
		t.Helper()
		list, err := certs.WatchRevocations(file, authority.Certificate, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	source, forged := filepath.Join(t.TempDir(), "revoked.pem"), filepath.Join(t.TempDir(), "revoked.pem")
	pair := issued(t, authority)
	sender := watch(source)
	if sender.List() != nil {
		t.Error("there is a list before there is one")
	}
	revoke := func(a *certs.Authority, file string, serial *big.Int) {
		t.Helper()
		if err := a.Revoke(file, serial); err != nil {
			t.Fatal(err)
		}
	}
	revoke(authority, source, big.NewInt(7))
	older := sender.List()
	revoke(authority, source, pair.Certificate.SerialNumber)
	newer := sender.List()
	revoke(other, forged, big.NewInt(8))
	theirs, err := certs.WatchRevocations(forged, other.Certificate, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}

	file := filepath.Join(t.TempDir(), "revoked.pem")
	receiver := watch(file)
	for _, bad := range [][]byte{nil, []byte("nonsense"), theirs.List()} {
		if err := receiver.Take(bad); err == nil || receiver.List() != nil {
			t.Errorf("%.20x was taken: %v", bad, err)
		}
	}
	for _, list := range [][]byte{older, newer, older} {
		if err := receiver.Take(list); err != nil {
			t.Fatal(err)
		}
	}
	if err := receiver.Check(pair.Certificate); !errors.Is(err, certs.ErrRevoked) {
		t.Errorf("after the newer list: %v", err)
	}
	if err := watch(file).Check(pair.Certificate); !errors.Is(err, certs.ErrRevoked) {
		t.Errorf("after a restart: %v", err)
	}

	nowhere := watch(filepath.Join(t.TempDir(), "no such directory", "revoked.pem"))
	if err := nowhere.Take(newer); err == nil {
		t.Error("a list that cannot be kept is no error")
	}
	if err := nowhere.Check(pair.Certificate); !errors.Is(err, certs.ErrRevoked) {
		t.Errorf("a list that cannot be kept is not in force: %v", err)
	}
}
