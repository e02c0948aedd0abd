package singlevm

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/config"
	"github.com/ciaocloud/ciao/ssntp"
	"github.com/ciaocloud/ciao/ssntp/certs"
)

// makeFiles makes the authority, all certificates, the cluster file and the users' environments; what is there is kept.
func (s *Setup) makeFiles(context.Context) error {
	for _, directory := range []string{s.layout.pki(), s.layout.controller(), s.layout.gateway()} {
		if err := os.MkdirAll(directory, 0o700); err != nil {
			return fmt.Errorf("make %s: %w", directory, err)
		}
	}
	if err := os.MkdirAll(s.layout.users(), 0o755); err != nil {
		return fmt.Errorf("make %s: %w", s.layout.users(), err)
	}
	if err := s.copyPrograms(); err != nil {
		return err
	}
	authority, err := s.authority()
	if err != nil {
		return err
	}
	if err := s.issueDaemons(authority); err != nil {
		return err
	}
	if err := s.issueUsers(authority); err != nil {
		return err
	}
	if err := s.keepStorage(); err != nil {
		return err
	}
	nodes, err := s.wantNodes()
	if err != nil {
		return err
	}
	blocked, err := blockedPrefixes()
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if err := s.makeNode(n, authority, blocked); err != nil {
			return err
		}
	}
	return nil
}

// keepStorage keeps what the cluster files are to say of storage, for this setup, later ones and later nodes.
func (s *Setup) keepStorage() error {
	if s.config.Storage == "" {
		return nil
	}
	part, err := os.ReadFile(s.config.Storage)
	if err != nil {
		return fmt.Errorf("%w: --storage: %w", cluster.ErrInvalid, err)
	}
	if !bytes.HasPrefix(part, []byte("storage:")) {
		return fmt.Errorf("%w: --storage: %s must begin with the line `storage:`; docs/cluster-file.md has its keys", cluster.ErrInvalid, s.config.Storage)
	}
	return replaceFile(s.layout.storageFile(), part, 0o600)
}

func (s *Setup) pki() config.PKI { return config.PKI{Directory: s.layout.pki()} }

func (s *Setup) authority() (*certs.Authority, error) {
	if exists(s.pki().CAFile()) && exists(s.pki().CAKeyFile()) {
		return certs.LoadAuthority(s.pki().CAFile(), s.pki().CAKeyFile())
	}
	authority, err := certs.NewAuthority("ciao "+ClusterName, 0)
	if err != nil {
		return nil, err
	}
	return authority, authority.Save(s.pki().CAFile(), s.pki().CAKeyFile())
}

// issueDaemons gives each daemon but the launchers a certificate with its role and no other.
func (s *Setup) issueDaemons(authority *certs.Authority) error {
	names := []string{hostAddress, "127.0.0.1", "localhost"}
	if host, err := os.Hostname(); err == nil {
		names = append(names, host)
	}
	for name, subject := range map[string]func() certs.Subject{
		config.SchedulerCertificate:  func() certs.Subject { return certs.Node(ssntp.NewID(), ssntp.RoleScheduler, hostAddress) },
		config.ControllerCertificate: func() certs.Subject { return certs.Node(ssntp.NewID(), ssntp.RoleController) },
		config.APICertificate:        func() certs.Subject { return certs.Web(names...) },
	} {
		if err := issue(authority, s.pki(), name, subject); err != nil {
			return err
		}
	}
	return nil
}

// issue makes a daemon's certificate if it is not there; a half-made pair is made anew.
func issue(authority *certs.Authority, pki config.PKI, name string, subject func() certs.Subject) error {
	certificate, key := pki.CertificateFile(name), pki.KeyFile(name)
	if exists(certificate) && exists(key) {
		return nil
	}
	pair, err := authority.Issue(subject())
	if err != nil {
		return err
	}
	return pair.Save(certificate, key)
}

// issueUsers gives the operator and each tenant a certificate, and the file of environment variables that goes with it.
func (s *Setup) issueUsers(authority *certs.Authority) error {
	ids, err := s.tenantIDs()
	if err != nil {
		return err
	}
	if err := replaceFile(s.layout.userCA(), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.Certificate.Raw}), 0o644); err != nil {
		return err
	}
	subjects := map[string]certs.Subject{operatorName: certs.User(operatorName, "admin")}
	for name, id := range ids {
		subjects[name] = certs.User(name, id)
	}
	for name, subject := range subjects {
		if err := s.issueUser(authority, name, subject); err != nil {
			return err
		}
	}
	for name, id := range ids {
		if err := replaceFile(s.layout.environment(name), []byte(s.environmentText(name, id)), 0o644); err != nil {
			return err
		}
	}
	return s.giveToCaller()
}

func (s *Setup) issueUser(authority *certs.Authority, name string, subject certs.Subject) error {
	file := s.layout.user(name)
	if exists(file) {
		return nil
	}
	pair, err := authority.Issue(subject)
	if err != nil {
		return err
	}
	// The users' programs take one file with both: the key file is extended by the certificate.
	certificate, key := file+".certificate", file+".key"
	if err := pair.Save(certificate, key); err != nil {
		return err
	}
	var both []byte
	for _, part := range []string{certificate, key} {
		data, err := os.ReadFile(part)
		if err != nil {
			return fmt.Errorf("read the new certificate: %w", err)
		}
		both = append(both, data...)
	}
	if err := replaceFile(file, both, 0o600); err != nil {
		return err
	}
	return errors.Join(os.Remove(certificate), os.Remove(key))
}

// giveToCaller makes the users' files readable by whoever called sudo.
func (s *Setup) giveToCaller() error {
	uid, err := strconv.Atoi(os.Getenv("SUDO_UID"))
	if err != nil {
		return nil
	}
	caller, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		return nil
	}
	gid, err := strconv.Atoi(caller.Gid)
	if err != nil {
		return fmt.Errorf("the group of %s: %w", caller.Username, err)
	}
	for _, name := range append([]string{operatorName}, tenantNames...) {
		if err := os.Chown(s.layout.user(name), uid, gid); err != nil {
			return fmt.Errorf("give the certificate of %s to %s: %w", name, caller.Username, err)
		}
	}
	return nil
}

// environmentText are the variables with which a tenant's user, who is an operator too on this machine, reaches the cluster.
func (s *Setup) environmentText(name, id string) string {
	return fmt.Sprintf("export CIAO_CONTROLLER=%s\nexport CIAO_CLIENT_CERT_FILE=%s\nexport CIAO_ADMIN_CLIENT_CERT_FILE=%s\n"+
		"export CIAO_CA_CERT_FILE=%s\nexport CIAO_TENANT_ID=%s\nexport CIAO_CONFIG=%s\nexport PATH=%s:$PATH\n",
		hostAddress, s.layout.user(name), s.layout.user(operatorName), s.layout.userCA(), id, s.layout.clusterFile(), s.config.Programs)
}

// writeClusterFile writes the file that a node's launcher reads; the other daemons read that of the first.
func (s *Setup) writeClusterFile(n node, blocked []string) error {
	hostname, err := n.hostname()
	if err != nil {
		return err
	}
	text := fmt.Sprintf(`# Written by singlevm setup.
api_version: %s
name: %s
time_scale: %g
pki:
  directory: %s
scheduler:
  listen: %s:%d
  addresses: ["%s:%d"]
  directory: %s
  placement: %s
controller:
  listen: %s:%d
  directory: %s
  cnci_idle: 30s # the user of a machine of his own wants to see it
launcher:
  directory: %s
  docker: %s
  hostname: %s
network:
  underlay: %s
  isolated: true
  blocked: [%s]
`, config.Version, ClusterName, s.config.TimeScale, n.pki().Directory, hostAddress, config.SSNTPPort, hostAddress, config.SSNTPPort, s.layout.scheduler(),
		config.Spread, hostAddress, config.APIPort, s.layout.controller(), n.directory(), s.engine.DaemonHost(), hostname, underlayBridge, strings.Join(blocked, ", "))
	storage, err := os.ReadFile(s.layout.storageFile())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the part storage of the cluster file: %w", err)
	}
	text += string(storage)
	if _, err := config.Parse(n.clusterFile(), []byte(text)); err != nil {
		return err
	}
	if old, err := os.ReadFile(n.clusterFile()); err == nil && string(old) == text {
		return nil // its time is part of what the daemons are restarted for
	}
	return replaceFile(n.clusterFile(), []byte(text), 0o600)
}

// blockedPrefixes are what tenants must not reach through the machine that routes for them: the underlay, the machine's own
// addresses, and the networks that live on it, such as the Docker Engine's.
func blockedPrefixes() ([]string, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list the links: %w", err)
	}
	_, underlay6, err := net.ParseCIDR(underlayPrefix6)
	if err != nil {
		return nil, fmt.Errorf("the underlay's IPv6 prefix: %w", err)
	}
	blocked := []string{underlayPrefix, underlayPrefix6, "127.0.0.0/8", "169.254.0.0/16"}
	for _, link := range links {
		if strings.HasPrefix(link.Attrs().Alias, "ciao/") || link.Attrs().Flags&net.FlagLoopback != 0 {
			continue
		}
		addresses, err := netlink.AddrList(link, netlink.FAMILY_ALL)
		if err != nil {
			return nil, fmt.Errorf("list the addresses of %s: %w", link.Attrs().Name, err)
		}
		for _, address := range addresses {
			if address.IP.To4() == nil && (address.IP.IsLinkLocalUnicast() || underlay6.Contains(address.IP)) {
				continue // never routed; blocked with all of the underlay, where links of ours take addresses as they come up
			}
			_, bits := address.Mask.Size()
			prefix := &net.IPNet{IP: address.IP, Mask: net.CIDRMask(bits, bits)}
			if link.Type() == "bridge" {
				prefix = &net.IPNet{IP: address.IP.Mask(address.Mask), Mask: address.Mask}
			}
			blocked = append(blocked, prefix.String())
		}
	}
	slices.Sort(blocked)
	return slices.Compact(blocked), nil
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}
