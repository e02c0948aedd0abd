package dhcp

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/network"
)

var testSubnet = Subnet{
	Link: "cb0123456789ab", Prefix: netip.MustParsePrefix("172.16.4.0/22"), Gateway: netip.MustParseAddr("172.16.4.1"),
	Prefix6: netip.MustParsePrefix("fd3e:9a4c:7100:7d1::/64"), Gateway6: netip.MustParseAddr("fd3e:9a4c:7100:7d1::1"), Domain: "red.ciao", MTU: 1450,
	Hosts: []network.Host{
		{Name: "web-2", MAC: "02:00:ac:10:04:03", Addresses: []netip.Addr{netip.MustParseAddr("172.16.4.3"), netip.MustParseAddr("fd3e:9a4c:7100:7d1::3")}},
		{Name: "web-1", MAC: "02:00:ac:10:04:02", Addresses: []netip.Addr{netip.MustParseAddr("172.16.4.2")}},
	},
	Servers: []netip.Addr{netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2")},
}

func TestRender(t *testing.T) {
	for _, c := range []struct{ name, got, want string }{
		{"hosts for DHCP", renderHosts(testSubnet.Hosts), "02:00:ac:10:04:02,172.16.4.2\n02:00:ac:10:04:03,172.16.4.3,[fd3e:9a4c:7100:7d1::3]\n"},
		{"names", renderNames(testSubnet.Hosts, "red.ciao"), "172.16.4.2 web-1.red.ciao web-1\n172.16.4.3 web-2.red.ciao web-2\nfd3e:9a4c:7100:7d1::3 web-2.red.ciao web-2\n"},
		{"servers", renderServers(testSubnet.Servers), "server=198.51.100.1\nserver=198.51.100.2\n"},
		{"settings", renderConfig("/run/x", testSubnet), `# Written by ciao; changes are lost.
interface=cb0123456789ab
except-interface=lo
bind-dynamic
no-resolv
no-hosts
domain-needed
bogus-priv
domain=red.ciao
local=/red.ciao/
addn-hosts=/run/x/names
servers-file=/run/x/servers
dhcp-range=172.16.4.0,static,255.255.252.0,1h
dhcp-hostsfile=/run/x/hosts
dhcp-authoritative
dhcp-ignore-names
no-ping
leasefile-ro
quiet-dhcp
dhcp-lease-max=1024
dhcp-option=option:router,172.16.4.1
dhcp-option=option:dns-server,172.16.4.1
dhcp-option=option:domain-search,red.ciao
dhcp-option=option:mtu,1450
enable-ra
quiet-ra
quiet-dhcp6
dhcp-range=fd3e:9a4c:7100:7d1::,static,64,2m
dhcp-option=option6:dns-server,[fd3e:9a4c:7100:7d1::1]
dhcp-option=option6:domain-search,red.ciao
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, c.got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestDepartedHostsAreKnownFromTheFile(t *testing.T) {
	s := NewServer(t.TempDir(), nil, nil)
	if err := os.WriteFile(filepath.Join(s.directory, hostsFile), []byte(renderHosts(testSubnet.Hosts)), 0o644); err != nil {
		t.Fatal(err)
	}
	s.wanted = &Subnet{Hosts: []network.Host{{MAC: "02:00:ac:10:04:02", Addresses: []netip.Addr{netip.MustParseAddr("172.16.4.3")}}, testSubnet.Hosts[1]}}
	want := []binding{{"02:00:ac:10:04:03", "172.16.4.3"}}
	if got := s.departed(); !slices.Equal(got, want) {
		t.Errorf("departed %v, want %v", got, want)
	}
}

func TestReleaseMessage(t *testing.T) {
	message, err := releaseMessage(binding{"02:00:ac:10:04:03", "172.16.4.3"}, testSubnet.Gateway)
	if err != nil {
		t.Fatal(err)
	}
	if message.MessageType() != dhcpv4.MessageTypeRelease || message.ClientIPAddr.String() != "172.16.4.3" ||
		message.ClientHWAddr.String() != "02:00:ac:10:04:03" || message.ServerIdentifier().String() != "172.16.4.1" {
		t.Errorf("message %s", message.Summary())
	}
}

// A process is held and ended by its descriptor, whether or not it listens to a polite signal.
func TestProcessEnds(t *testing.T) {
	for name, script := range map[string]string{"polite": "exec sleep 3600", "deaf": "trap '' TERM; while :; do sleep 1; done"} {
		t.Run(name, func(t *testing.T) {
			command := exec.Command("sh", "-c", script)
			if err := command.Start(); err != nil {
				t.Fatal(err)
			}
			defer command.Wait()
			p, err := openProcess(command.Process.Pid)
			if err != nil {
				t.Fatal(err)
			}
			waiting, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			defer cancel()
			if err := p.wait(waiting); !errors.Is(err, context.DeadlineExceeded) || !p.alive() {
				t.Errorf("wait for a running process: %v", err)
			}
			if p.is([]string{"dnsmasq"}, "") {
				t.Error("it passes for another program")
			}
			if err := p.end(t.Context()); err != nil {
				t.Error(err)
			}
			if _, err := openProcess(command.Process.Pid); err == nil || !errors.Is(err, cluster.ErrNotFound) {
				t.Errorf("it is still there: %v", err)
			}
		})
	}
}
