package cluster

import (
	"errors"
	"strings"
	"testing"
)

const testKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIM1b9APNZdHfq+0wN+Qm9lnqYSbPpK7h13Iheh5Qq4O5"

func TestParseSSHKey(t *testing.T) {
	for name, content := range map[string]string{
		"a line":               testKey + " me@home",
		"with an end":          testKey + " me@home\n",
		"between comments":     "# mine\n\n" + testKey + "  me@home\r\n\n",
		"not a key behind it":  testKey + " me@home\n# the end\n",
		"more than one blank ": testKey + "   me@home",
	} {
		line, fingerprint, err := ParseSSHKey(content)
		if err != nil || line != testKey+" me@home" || !strings.HasPrefix(fingerprint, "SHA256:") || len(fingerprint) != 50 {
			t.Errorf("%s: %q, %q, %v", name, line, fingerprint, err)
		}
	}
	if line, _, err := ParseSSHKey(testKey); line != testKey || err != nil {
		t.Errorf("without a comment: %q, %v", line, err)
	}
	for name, test := range map[string]struct{ content, says string }{
		"nothing":       {"", "not a public key"},
		"some text":     {"ssh-ed25519 secret", "ssh-keygen"},
		"private":       {"-----BEGIN OPENSSH PRIVATE KEY-----\nsecret\n-----END OPENSSH PRIVATE KEY-----\n", "private key"},
		"with options":  {`command="secret" ` + testKey, "options"},
		"two":           {testKey + "\n" + testKey + "\n", "more than one"},
		"too long":      {testKey + strings.Repeat(" secret", 2000), "at most"},
		"control codes": {testKey + " \x1b[2Jsecret", "comment"},
	} {
		_, _, err := ParseSSHKey(test.content)
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v, want it to say %q", name, err, test.says)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error repeats it: %v", name, err)
		}
	}
}
