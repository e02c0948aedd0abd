package cli_test

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/ciaocloud/ciao/cluster/config"
	"github.com/ciaocloud/ciao/ssntp/certs"
)

// TestRevokeCertificate by file and by serial number, and what is refused; the list then says so, and nothing else.
func TestRevokeCertificate(t *testing.T) {
	nobody(t)
	directory := t.TempDir()
	pki := config.PKI{Directory: directory, Revoked: filepath.Join(directory, "revoked.pem")}
	authority, issue := newAuthority(t)
	if err := authority.Save(pki.CAFile(), pki.CAKeyFile()); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(directory, "cluster.yaml")
	text := "api_version: ciao/v1\nname: test\npki: {directory: " + directory + "}\nscheduler: {addresses: ['127.0.0.1:8888']}\nnetwork: {underlay: lo}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	byFile, bySerial, kept := issue(), issue(), issue()
	name := filepath.Join(directory, "ann.pem")
	if err := certs.SaveCertificate(name, byFile.Certificate); err != nil {
		t.Fatal(err)
	}
	works(t, "revoke", "certificate", "--config", file, name, fmt.Sprintf("%X", bySerial.Certificate.SerialNumber))
	list, err := certs.WatchRevocations(pki.Revoked, authority.Certificate, slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	for pair, want := range map[*certs.Pair]bool{byFile: true, bySerial: true, kept: false} {
		if err := list.Check(pair.Certificate); errors.Is(err, certs.ErrRevoked) != want {
			t.Errorf("revoked: %v, want %v", err, want)
		}
	}
	_, issueOther := newAuthority(t)
	foreign := filepath.Join(directory, "foreign.pem")
	if err := certs.SaveCertificate(foreign, issueOther().Certificate); err != nil {
		t.Fatal(err)
	}
	for argument, says := range map[string]string{
		pki.CAFile(): "is an authority", foreign: "not issued by this cluster's authority", "xyz": "neither the file", "0": "neither the file",
	} {
		refuses(t, 2, []string{"revoke", "certificate", "--config", file, argument}, says)
	}
}

func newAuthority(t *testing.T) (*certs.Authority, func() *certs.Pair) {
	t.Helper()
	authority, err := certs.NewAuthority("test", 0)
	if err != nil {
		t.Fatal(err)
	}
	return authority, func() *certs.Pair {
		pair, err := authority.Issue(certs.User("ann", "t"))
		if err != nil {
			t.Fatal(err)
		}
		return pair
	}
}
