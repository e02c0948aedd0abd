package cli_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ciaocloud/ciao/cluster/cli"
	"github.com/ciaocloud/ciao/terminal"
)

const (
	publicKey  = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIM1b9APNZdHfq+0wN+Qm9lnqYSbPpK7h13Iheh5Qq4O5"
	anotherKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGs63lNfDPg5EO7spXKR9ihqPeoZpYif/liZggQ+YbfE"
)

// keyFile writes a file of that name.
func keyFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSSHKeys(t *testing.T) {
	machine(t)
	works(t, "create", "ssh-key", "laptop", "--file", keyFile(t, "id.pub", publicKey+" me@home\n"))
	var out bytes.Buffer
	code := cli.Run(t.Context(), "1.2.3", []string{"create", "ssh-key", "desk", "--stdin"}, terminal.Streams{In: strings.NewReader(anotherKey), Out: &out, Err: &out})
	if code != 0 || !strings.Contains(out.String(), "SHA256:") {
		t.Errorf("from standard input: code %d, %s", code, out.String())
	}
	if names := works(t, "list", "ssh-keys", "-f", "{{.name}}"); names != "desk\nlaptop\n" {
		t.Errorf("the list has %q", names)
	}
	if key := works(t, "show", "ssh-key", "laptop", "-f", "{{.key}}"); key != publicKey+" me@home\n" {
		t.Errorf("it shows %q", key)
	}
	works(t, "create", "instance", "machine", "--name", "mine", "--ssh-key", "laptop", "--ssh-key", keyFile(t, "other.pub", anotherKey), "--wait")
	works(t, "delete", "ssh-key", "laptop")
	refuses(t, 3, []string{"show", "ssh-key", "laptop"}, "laptop", "ciao list ssh-keys")
	works(t, "stop", "instance", "mine", "--wait")
	works(t, "start", "instance", "mine", "--wait") // it has what it was created with
}

func TestSSHKeysThatAreRefused(t *testing.T) {
	machine(t)
	good := keyFile(t, "id.pub", publicKey)
	works(t, "create", "ssh-key", "laptop", "--file", good)
	private := keyFile(t, "id", "-----BEGIN OPENSSH PRIVATE KEY-----\nsecret\n-----END OPENSSH PRIVATE KEY-----\n")
	for _, test := range []struct {
		code int
		args string
		says string
	}{
		{2, "create ssh-key two", "--file"},
		{2, "create ssh-key two --stdin --file " + good, "--file"},
		{2, "create ssh-key two --file " + private, "private key"},
		{2, "create ssh-key two --file " + good + ".none", "no such file"},
		{2, "create ssh-key Two --file " + keyFile(t, "another.pub", anotherKey), "lower-case"},
		{4, "create ssh-key laptop --file " + good, "another name"},
		{4, "create ssh-key two --file " + good, "kept as laptop"},
		{3, "create instance machine --ssh-key lapdog", "did you mean laptop"},
		{3, "create instance machin --ssh-key laptop", "did you mean machine"},
		{2, "create instance machine --ssh-key " + private, "private key"},
		{3, "delete ssh-key lapdog", "did you mean laptop"},
	} {
		refuses(t, test.code, strings.Fields(test.args), test.says)
	}
	if names := works(t, "list", "ssh-keys", "-f", "{{.name}}"); names != "laptop\n" {
		t.Errorf("what was refused is half made: %q", names)
	}
}
