package concentrator

import (
	"crypto/rand"
	"crypto/x509"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/ssntp"
	"github.com/ciaocloud/ciao/ssntp/certs"
)

// A certificate is no good once it has expired, and before it is valid: after the clock was put back, another one is asked for.
func TestCertificateIsGoodInItsTime(t *testing.T) {
	authority, err := certs.NewAuthority("test", 0)
	if err != nil {
		t.Fatal(err)
	}
	c := carrier{directory: t.TempDir()}
	key, err := c.key()
	if err != nil {
		t.Fatal(err)
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	subject := certs.Node(ssntp.NewID(), ssntp.RoleCNCIAgent)
	subject.Lifetime = 24 * time.Hour
	chain, err := authority.Sign(request, subject)
	if err == nil {
		err = c.replace(certificateFile, chain)
	}
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		jump time.Duration
		good bool
	}{"now": {good: true}, "forward": {jump: 25 * time.Hour}, "back": {jump: -time.Hour}} {
		if left, share := c.valid(key, time.Now().Add(test.jump)); (left > 0 && share > 0) != test.good {
			t.Errorf("%s: %v left, which is %g", name, left, share)
		}
	}
}
