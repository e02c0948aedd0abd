package cluster

import (
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// SSHKey is a public key that a tenant keeps, to be let into its virtual machines by.
type SSHKey struct {
	ID          string    `json:"id"`
	Tenant      string    `json:"tenant"`
	Name        string    `json:"name"`        // unique among the tenant's keys
	Key         string    `json:"key"`         // a line of authorized_keys (sshd(8)), without options
	Fingerprint string    `json:"fingerprint"` // SHA256:…, as ssh-keygen(1) shows it; unique among the tenant's keys
	Created     time.Time `json:"created"`
}

// MaxTenantSSHKeys is how many keys a tenant keeps.
const MaxTenantSSHKeys = 50

// ParseSSHKey reads the content of a file with one public key. The line has the key and its comment. Everything else is ErrInvalid, which
// never repeats what it was given: it may be a secret.
func ParseSSHKey(content string) (line, fingerprint string, err error) {
	if strings.Contains(content, "PRIVATE KEY") {
		return "", "", fmt.Errorf("%w: that is a private key, which nobody but its owner may ever see; give the public one, of the file with .pub behind its name", ErrInvalid)
	}
	if len(content) > maxSSHKey {
		return "", "", fmt.Errorf("%w: a public key has at most %d bytes", ErrInvalid, maxSSHKey)
	}
	key, comment, options, rest, err := ssh.ParseAuthorizedKey([]byte(content))
	switch {
	case err != nil:
		return "", "", fmt.Errorf("%w: that is not a public key; give a file such as ~/.ssh/id_ed25519.pub, which ssh-keygen makes", ErrInvalid)
	case len(options) > 0:
		return "", "", fmt.Errorf("%w: the key has options before it; leave them away", ErrInvalid)
	case another(rest):
		return "", "", fmt.Errorf("%w: there is more than one key; give each a name of its own", ErrInvalid)
	}
	line = strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)) + " " + comment)
	line = strings.Join(strings.Fields(line), " ")
	if !sshKey.MatchString(line) {
		return "", "", fmt.Errorf("%w: keys of type %s, or with such a comment, let nobody in; use one of ssh-ed25519, ecdsa or ssh-rsa", ErrInvalid, key.Type())
	}
	return line, ssh.FingerprintSHA256(key), nil
}

func another(rest []byte) bool {
	_, _, _, _, err := ssh.ParseAuthorizedKey(rest)
	return err == nil
}
