package singlevm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/config"
	"github.com/ciaocloud/ciao/cluster/driver/process"
)

// check is one thing that the machine must have.
type check struct {
	name   string
	needed bool // setup refuses without it
	repeat bool // it holds only before the first setup
	look   func(context.Context) error
}

// Finding is what a check found.
type Finding struct {
	Check   string `json:"check"`
	OK      bool   `json:"ok"`
	Problem string `json:"problem,omitempty"`
}

// free space that a setup needs, in bytes.
const neededSpace = 512 << 20

func (s *Setup) checks() []check {
	checks := []check{
		{name: "root", needed: true, look: root},
		{name: "Docker Engine", needed: true, look: s.dockerAnswers},
		{name: "disk space", needed: true, look: s.space},
		{name: "bridge " + underlayBridge, needed: true, look: func(context.Context) error { return ownLink(underlayBridge, mark("underlay")) }},
		{name: "link " + underlayHost, needed: true, look: func(context.Context) error { return ownLink(underlayHost, mark("host")) }},
		{name: "address range " + underlayPrefix, needed: true, look: rangeFree},
		{name: "ports", needed: true, look: s.portsFree},
	}
	for _, program := range []string{"dnsmasq", "nft", "iptables"} {
		checks = append(checks, check{name: program, needed: true, look: func(context.Context) error { return installed(program) }})
	}
	checks = append(checks, check{name: "programs for processes", needed: true, look: func(context.Context) error {
		_, _, err := process.Programs()
		return err
	}})
	for _, program := range []string{"ciao", "singlevm"} {
		checks = append(checks, check{name: "program " + program, needed: true, look: func(context.Context) error {
			if !exists(s.program(program)) {
				return fmt.Errorf("%w: %s is missing: run `make build` or `singlevm setup --build`", cluster.ErrNotFound, s.program(program))
			}
			return nil
		}})
	}
	return append(checks, check{name: "firewall", look: firewallOpen})
}

// Doctor looks at everything that setup needs.
func (s *Setup) Doctor(ctx context.Context) []Finding {
	checks := s.checks()
	findings := make([]Finding, len(checks))
	for i, check := range checks {
		findings[i] = Finding{Check: check.name, OK: true}
		if err := check.look(ctx); err != nil {
			findings[i] = Finding{Check: check.name, Problem: err.Error()}
		}
	}
	return findings
}

func root(context.Context) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("%w: singlevm changes links, firewall and processes of this machine: run it as root (`sudo -E env \"PATH=$PATH\" singlevm …`)", cluster.ErrPermission)
	}
	return nil
}

func (s *Setup) dockerAnswers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, engineTimeout)
	defer cancel()
	if _, err := s.engine.Ping(ctx); err != nil {
		return fmt.Errorf("%w: the Docker Engine does not answer at %s: start it with `make deps` or `systemctl start docker` (%w)", cluster.ErrUnavailable, s.engine.DaemonHost(), err)
	}
	return nil
}

func (s *Setup) space(context.Context) error {
	directory := s.layout.root
	for !exists(directory) {
		directory = parent(directory)
	}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(directory, &fs); err != nil {
		return fmt.Errorf("look at the disk of %s: %w", directory, err)
	}
	if free := fs.Bavail * uint64(fs.Bsize); free < neededSpace {
		return fmt.Errorf("%w: the disk of %s has %d MiB left and setup needs %d: make room or choose another --directory", cluster.ErrNoCapacity, directory, free>>20, neededSpace>>20)
	}
	return nil
}

func parent(directory string) string {
	i := strings.LastIndexByte(strings.TrimRight(directory, "/"), '/')
	if i <= 0 {
		return "/"
	}
	return directory[:i]
}

func ownLink(name, alias string) error {
	link, err := netlink.LinkByName(name)
	if err != nil || link.Attrs().Alias == alias {
		return nil
	}
	return notOurs(name)
}

// rangeFree refuses a machine whose own network uses the underlay's addresses.
func rangeFree(context.Context) error {
	_, underlay, err := net.ParseCIDR(underlayPrefix)
	if err != nil {
		return fmt.Errorf("the underlay's range: %w", err)
	}
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("list the routes: %w", err)
	}
	for _, route := range routes {
		if route.Dst == nil || route.Dst.IP.IsUnspecified() || !(route.Dst.Contains(underlay.IP) || underlay.Contains(route.Dst.IP)) {
			continue
		}
		link, err := netlink.LinkByIndex(route.LinkIndex)
		if err == nil && link.Attrs().Alias != mark("host") {
			return fmt.Errorf("%w: this machine routes %s, which singlevm uses, over %s: end that first (`ip route` shows it)", cluster.ErrConflict, route.Dst, link.Attrs().Name)
		}
	}
	return nil
}

// portsFree refuses ports that somebody else uses. Before the first setup the address is not there yet: all addresses are tried then.
func (s *Setup) portsFree(ctx context.Context) error {
	if status, err := s.supervisor.Status(ctx); err == nil && len(status) > 0 {
		return nil // they are our own daemons'
	}
	for name, port := range map[string]int{"scheduler": config.SSNTPPort, "controller": config.APIPort} {
		for _, host := range []string{hostAddress, ""} {
			err := portFree(fmt.Sprintf("%s:%d", host, port))
			if err == nil || isNoSuchAddress(err) {
				continue
			}
			return fmt.Errorf("%w: port %d, which the %s needs, is in use (%w): `ss -ltnp` shows by what", cluster.ErrConflict, port, name, err)
		}
	}
	return nil
}

func installed(program string) error {
	if _, err := exec.LookPath(program); err == nil || exists("/usr/sbin/"+program) || exists("/sbin/"+program) {
		return nil
	}
	return fmt.Errorf("%w: %s is not installed: run `make deps`", cluster.ErrNotFound, program)
}

// firewallOpen warns of a firewall that drops what instances send outside, where singlevm's own accepts would come too late
// (ciao's issue 526).
func firewallOpen(ctx context.Context) error {
	if exec.CommandContext(ctx, "firewall-cmd", "--state").Run() == nil {
		return fmt.Errorf("%w: firewalld runs and may drop what instances send outside: allow it with `firewall-cmd --zone=trusted --add-interface=%s`", cluster.ErrConflict, underlayHost)
	}
	return nil
}

func isNoSuchAddress(err error) bool { return errors.Is(err, syscall.EADDRNOTAVAIL) }
