package daemon

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"strings"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/config"
	"github.com/ciaocloud/ciao/ssntp/certs"
)

// Revoke puts certificates of daemons and users on the cluster's list of revoked ones. Each is named by its file, or by its serial number
// in hexadecimal; if one is wrong, none is revoked. It needs the authority's key.
func Revoke(pki config.PKI, names []string) error {
	authority, err := certs.LoadAuthority(pki.CAFile(), pki.CAKeyFile())
	if err != nil {
		return fmt.Errorf("%w; certificates are revoked on the machine that has the authority's key", err)
	}
	serials := make([]*big.Int, len(names))
	for i, name := range names {
		if serials[i], err = serialOf(authority.Certificate, name); err != nil {
			return err
		}
	}
	return authority.Revoke(pki.Revoked, serials...)
}

// serialOf finds out which certificate of an authority is meant: the one in a file, or that of a serial number in hexadecimal.
func serialOf(authority *x509.Certificate, name string) (*big.Int, error) {
	certificate, err := certs.LoadCertificate(name)
	if errors.Is(err, fs.ErrNotExist) {
		serial, ok := new(big.Int).SetString(strings.ReplaceAll(name, ":", ""), 16)
		if !ok || serial.Sign() <= 0 || serial.BitLen() > 160 {
			return nil, fmt.Errorf("%w: %q is neither the file of a certificate nor a serial number in hexadecimal, as `openssl x509 -serial -noout -in FILE` prints it", cluster.ErrInvalid, name)
		}
		return serial, nil
	}
	if err != nil {
		return nil, err
	}
	if certificate.IsCA {
		return nil, fmt.Errorf("%w: %s is an authority: to part with it, make another one and issue all certificates anew", cluster.ErrInvalid, name)
	}
	if err := certificate.CheckSignatureFrom(authority); err != nil {
		return nil, fmt.Errorf("%w: %s was not issued by this cluster's authority, which cannot revoke it: %w", cluster.ErrInvalid, name, err)
	}
	return certificate.SerialNumber, nil
}
