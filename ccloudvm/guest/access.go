package guest

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"
)

// Access is how to get into one guest: where it is, as whom, and who it must be.
type Access struct {
	Name    string         // alias in ssh.config
	Address netip.AddrPort // of the guest's sshd, as the host sees it
	User    string
	Key     ssh.Signer
	HostKey ssh.PublicKey // the only host key that is accepted
}

// Files are what [Access.WriteFiles] leaves.
type Files struct {
	Config     string // ssh -F CONFIG NAME; or an Include line in ~/.ssh/config
	KnownHosts string
}

// WriteFiles writes ssh.config and known_hosts into dir, for OpenSSH's own programs and for editors. keyPath is the user's private
// key file.
func (a Access) WriteFiles(dir, keyPath string) (Files, error) {
	f := Files{Config: filepath.Join(dir, "ssh.config"), KnownHosts: filepath.Join(dir, "known_hosts")}
	host := fmt.Sprintf("[%s]:%d", a.Address.Addr(), a.Address.Port())
	if a.Address.Port() == 22 {
		host = a.Address.Addr().String()
	}
	known := host + " " + string(ssh.MarshalAuthorizedKey(a.HostKey))
	if err := os.WriteFile(f.KnownHosts, []byte(known), 0o600); err != nil {
		return f, err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Host %s\n", a.Name)
	for _, line := range [][2]string{
		{"HostName", a.Address.Addr().String()},
		{"Port", fmt.Sprint(a.Address.Port())},
		{"User", a.User},
		{"IdentityFile", quoteConfig(keyPath)},
		{"IdentitiesOnly", "yes"},
		{"UserKnownHostsFile", quoteConfig(f.KnownHosts)},
		{"GlobalKnownHostsFile", "/dev/null"},
		{"StrictHostKeyChecking", "yes"},
		{"ServerAliveInterval", "15"},
		{"LogLevel", "ERROR"},
	} {
		fmt.Fprintf(&b, "  %s %s\n", line[0], line[1])
	}
	return f, os.WriteFile(f.Config, []byte(b.String()), 0o600)
}

// quoteConfig quotes a path for ssh_config(5), where blanks separate arguments and % starts a token.
func quoteConfig(path string) string {
	return `"` + strings.ReplaceAll(path, "%", "%%") + `"`
}
