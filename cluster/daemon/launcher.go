package daemon

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/config"
	"github.com/ciaocloud/ciao/cluster/driver/concentrator"
	"github.com/ciaocloud/ciao/cluster/driver/vm"
	"github.com/ciaocloud/ciao/cluster/imagecache"
	"github.com/ciaocloud/ciao/cluster/launcher"
	"github.com/ciaocloud/ciao/cluster/network/kernel"
	"github.com/ciaocloud/ciao/cluster/storage"
	"github.com/ciaocloud/ciao/cluster/storage/ceph"
	"github.com/ciaocloud/ciao/cluster/storage/local"
	"github.com/ciaocloud/ciao/cluster/stream"
	"github.com/ciaocloud/ciao/ssntp"
	"github.com/ciaocloud/ciao/ssntp/certs"
)

func runLauncher(ctx context.Context, e Environment) error {
	logger := e.logger()
	pki := e.Config.PKI
	certificate, key := pki.CertificateFile(config.LauncherCertificate), pki.KeyFile(config.LauncherCertificate)
	self, err := e.identity(certificate, key, ssntp.RoleAgent|ssntp.RoleNetAgent)
	if err != nil {
		return err
	}
	settings, err := e.client(certificate, key, nil, logger)
	if err != nil {
		return err
	}
	if settings.Roles, err = e.nodeRoles(self); err != nil {
		return err
	}
	n := node{Environment: e, id: self.ID.String(), logger: logger}
	network, err := n.network()
	if err != nil {
		return err
	}
	revoked, err := e.revocations(logger)
	if err != nil {
		return err
	}
	n.revoked = revoked
	n.streams = stream.Dialer{Roots: settings.Roots, Certificate: settings.Certificate, Admit: revoked.Check}
	if e.Config.Network.Isolated {
		settings.Dial, n.streams.Transport = network.Dial, network.Dial
	}
	if n.link, err = launcher.NewLink(settings); err != nil {
		return err
	}
	n.taps = network
	return n.run(ctx, network, settings.Roles)
}

// nodeRoles are those roles of the cluster file that the certificate allows.
func (e Environment) nodeRoles(self ssntp.Identity) (ssntp.Role, error) {
	var roles ssntp.Role
	for _, name := range e.Config.Launcher.Roles {
		role := ssntp.RoleAgent
		if name == string(cluster.Network) {
			role = ssntp.RoleNetAgent
		}
		if self.Roles&role == 0 {
			return 0, fmt.Errorf("%w: launcher.roles has %s, which this node's certificate does not allow; have one issued with that role", cluster.ErrPermission, name)
		}
		roles |= role
	}
	return roles, nil
}

// node is a launcher being assembled.
type node struct {
	Environment
	id      string
	link    *launcher.Link
	streams stream.Dialer
	taps    vm.Taps
	revoked *certs.Revocations
	logger  *slog.Logger
}

func (n node) run(ctx context.Context, network *kernel.Node, roles ssntp.Role) error {
	drivers, parts, err := n.drivers(roles)
	if err != nil {
		return err
	}
	parts = append(parts, network.Run)
	images, err := imagecache.Open(filepath.Join(n.Config.Launcher.Directory, "images"), n.Config.Launcher.ImageCacheMiB<<20, &http.Client{Transport: n.streams.HTTP()})
	if err != nil {
		return err
	}
	volumes, err := local.Open(n.Config.Launcher.StorageDirectory())
	if err != nil {
		return err
	}
	defer volumes.Close()
	disks, err := n.ceph()
	if err != nil {
		return err
	}
	service, err := launcher.New(launcher.Config{
		Link: n.link, Directory: n.Config.Launcher.Directory, Drivers: drivers, Network: network, Streams: n.streams, Images: images, Revocations: n.revoked, Storage: volumes, Ceph: disks,
		Hostname: n.Config.Launcher.Hostname, Version: n.Version, Labels: n.Config.Launcher.Labels,
		ReserveMemoryMiB: n.Config.Launcher.ReserveMemoryMiB, Overcommit: n.overcommit(), MaxParallelStarts: n.Config.Launcher.MaxParallelStarts,
		Statistics: time.Duration(n.Config.Launcher.Statistics), GuestGrace: time.Duration(n.Config.Launcher.GuestGrace), TimeScale: n.Config.TimeScale, Logger: n.logger,
	})
	if err != nil {
		return err
	}
	n.logger.Info("launcher runs", "node", n.id, "roles", roles.String(), "version", n.Version)
	return together(ctx, append(parts, service.Run)...)
}

// ceph is where the cluster file has disks kept; nil is nowhere but on nodes.
func (n node) ceph() (storage.Driver, error) {
	settings := n.Config.Storage.Ceph
	if settings.Pool == "" || !slices.Contains(n.Config.Launcher.Roles, string(cluster.Compute)) {
		return nil, nil
	}
	opened, err := ceph.Open(ceph.Config(settings))
	if err != nil {
		return nil, fmt.Errorf("storage.ceph of the cluster file: %w", err)
	}
	return opened, nil
}

func (n node) network() (*kernel.Node, error) {
	settings := kernel.NodeConfig{Cluster: n.Config.Name, Node: n.id, Parent: n.Config.Network.Underlay, Log: n.logger}
	if n.Config.Network.Address != "" {
		address, err := netip.ParsePrefix(n.Config.Network.Address)
		if err != nil {
			return nil, fmt.Errorf("network.address: %w", err)
		}
		settings.Address = address
	}
	if n.Config.Network.Isolated {
		var err error
		if settings.Control, err = n.control(); err != nil {
			return nil, err
		}
	}
	return kernel.NewNode(settings), nil
}

// control are the schedulers and the API, as a namespace without a resolver of names reaches them.
func (n node) control() ([]netip.AddrPort, error) {
	var control []netip.AddrPort
	addresses := slices.Clone(n.Config.Scheduler.Addresses)
	if n.Config.Controller.Address != "" {
		addresses = append(addresses, n.Config.Controller.Address)
	}
	for _, address := range addresses {
		place, err := netip.ParseAddrPort(address)
		if err != nil {
			return nil, fmt.Errorf("%w: with network.isolated, scheduler.addresses and controller.address must be IP addresses with ports, not %q", cluster.ErrInvalid, address)
		}
		control = append(control, place)
	}
	return control, nil
}

// concentrators makes the driver that runs the agents of CNCIs: this very program in another role.
func (n node) concentrators() (*concentrator.Driver, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program, which CNCIs run too: %w", err)
	}
	edition, err := n.edition()
	if err != nil {
		return nil, err
	}
	return concentrator.New(concentrator.Config{
		Instances:  launcher.InstancesDirectory(n.Config.Launcher.Directory),
		Namespaces: kernel.NewSpaces(kernel.SpacesConfig{Cluster: n.Config.Name, Node: n.id, Parent: n.Config.Network.Underlay}),
		Issuer:     n.link,
		Command: func(agent concentrator.Agent) ([]string, error) {
			file, err := n.agentFile(agent)
			return []string{program, "run", "cnci", "--config", file}, err
		},
		Edition:   edition,
		TimeScale: n.Config.TimeScale,
		Logger:    n.logger,
	})
}

// edition digests what this node's agents are started from: the very program that this process runs, which a build may have
// replaced under the same name, and the cluster file.
func (n node) edition() (string, error) {
	program, err := os.Stat("/proc/self/exe")
	if err != nil {
		return "", fmt.Errorf("look at this program, which CNCIs run too: %w", err)
	}
	settings, err := config.Format(n.Config)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	fmt.Fprintln(sum, program.Size(), program.ModTime().UnixNano(), string(settings))
	return hex.EncodeToString(sum.Sum(nil)[:8]), nil
}

// agentFile writes the cluster file of one agent: the node's own, with the part for the agent.
func (n node) agentFile(agent concentrator.Agent) (string, error) {
	own := n.Config
	own.CNCI = config.CNCI{Instance: agent.Instance, Directory: agent.Directory, Certificate: agent.Certificate, Key: agent.Key}
	data, err := config.Format(own)
	if err != nil {
		return "", err
	}
	file := filepath.Join(agent.Directory, "cluster.yaml")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		return "", fmt.Errorf("write the cluster file of CNCI %s: %w", agent.Instance, err)
	}
	return file, nil
}
