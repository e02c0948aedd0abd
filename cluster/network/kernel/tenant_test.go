package kernel_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster/network"
	"github.com/ciaocloud/ciao/cluster/network/kernel"
	"github.com/ciaocloud/ciao/cluster/network/networktest"
)

// machine is a host with one node and its CNCIs.
type machine struct {
	t       *testing.T
	host    *networktest.Host
	engine  *networktest.Space
	cluster string
	node    *kernel.Node
	spaces  *kernel.Spaces
	wanted  network.Node
	facts   network.NodeFacts
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{t: t, host: networktest.NewHost(t), engine: networktest.NewSpace(t), cluster: fmt.Sprintf("t%x", time.Now().UnixNano()&0xffffffff)}
	m.start()
	return m
}

// start makes the node's network, and removes it all after the test.
func (m *machine) start() {
	m.t.Helper()
	t := m.t
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	m.node = kernel.NewNode(kernel.NodeConfig{Cluster: m.cluster, Node: "node-1", Parent: networktest.Parent, Host: m.host.Path(), Engine: m.engine.Path(), Log: log})
	m.spaces = kernel.NewSpaces(kernel.SpacesConfig{Cluster: m.cluster, Node: "node-1", Parent: networktest.Parent, Host: m.host.Path(), Log: log})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := m.node.Remove(ctx); err != nil {
			t.Error(err)
		}
		ids, err := m.spaces.List(ctx)
		for _, id := range ids {
			if err := m.spaces.Remove(ctx, id); err != nil {
				t.Error(err)
			}
		}
		if err != nil {
			t.Error(err)
		}
	})
	m.apply()
}

func (m *machine) apply() {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), 30*time.Second)
	defer cancel()
	facts, err := m.node.Apply(ctx, m.wanted)
	if err != nil {
		m.t.Fatal(err)
	}
	m.facts = facts
}

// tenant is one tenant's subnet with its CNCI and instances.
type tenant struct {
	*machine
	name         string
	subnet       network.Subnet
	concentrator *kernel.Concentrator
	gateway      *networktest.Space // the CNCI's namespace
	wanted       network.Concentrator
	underlay     netip.Addr
}

var privateRange = netip.MustParsePrefix("172.16.0.0/24")

func (m *machine) tenant(name string, key uint32) *tenant {
	m.t.Helper()
	ctx := m.t.Context()
	path, err := m.spaces.Create(ctx, "cnci-"+name)
	if err != nil {
		m.t.Fatal(err)
	}
	t := &tenant{machine: m, name: name, gateway: networktest.OpenSpace(m.t, path)}
	t.subnet = network.Subnet{ID: "subnet-" + name, Tenant: name, Key: key, Prefix: privateRange, Gateway: netip.MustParseAddr("172.16.0.1")}
	t.concentrator = t.agent()
	t.wanted = network.Concentrator{Subnet: t.subnet, Domain: name + ".ciao"}
	t.wanted.Subnet.Peers = []netip.Addr{m.facts.Underlay}
	t.configure()
	t.subnet.Concentrator = t.underlay
	m.wanted.Subnets = append(m.wanted.Subnets, t.subnet)
	m.apply()
	return t
}

// agent is what the CNCI's agent works with; a new one after each restart.
func (t *tenant) agent() *kernel.Concentrator {
	return kernel.NewConcentrator(kernel.ConcentratorConfig{Cluster: t.cluster, Instance: "cnci-" + t.name, Namespace: t.gateway.Path(), Log: slog.New(slog.NewTextHandler(t.t.Output(), nil))})
}

func (t *tenant) configure() {
	t.t.Helper()
	ctx, cancel := context.WithTimeout(t.t.Context(), 30*time.Second)
	defer cancel()
	facts, err := t.concentrator.Apply(ctx, t.wanted)
	if err != nil {
		t.t.Fatal(err)
	}
	t.underlay = facts.Underlay
}

// instance is a namespace that stands for a container.
type instance struct {
	*networktest.Space
	tenant  *tenant
	id      string
	address netip.Addr
	mac     string
}

// instance gives a container of the tenant its port and its address.
func (t *tenant) instance(number int) *instance {
	t.t.Helper()
	i := t.port(number)
	i.IP(fmt.Sprintf("addr add %s/24 dev eth0", i.address))
	i.IP("link set eth0 up")
	i.IP("route add default via 172.16.0.1")
	// The bridge forwards for a port a moment after its other end is up.
	networktest.Eventually(t.t, i.id+" reaches its gateway", func() bool { return i.reaches("172.16.0.1") })
	return i
}

// port is an instance without an address of its own yet.
func (t *tenant) port(number int) *instance {
	t.t.Helper()
	address := netip.AddrFrom4([4]byte{172, 16, 0, byte(number)})
	i := &instance{Space: networktest.NewSpace(t.t), tenant: t, id: fmt.Sprintf("%s-%d", t.name, number), address: address, mac: network.MACOf(address).String()}
	t.machine.wanted.Ports = append(t.machine.wanted.Ports, network.Port{Instance: i.id, Subnet: t.subnet.ID, Kind: network.Veth, MAC: i.mac, Addresses: []netip.Addr{address}})
	t.apply()
	t.wanted.Hosts = append(t.wanted.Hosts, network.Host{Name: fmt.Sprintf("web-%d", number), MAC: i.mac, Addresses: []netip.Addr{address}})
	t.configure()
	t.engine.IP("link set " + network.EngineEnd(i.id) + " netns " + i.holder() + " name eth0")
	return i
}

// holder is the pid of a process in the instance's namespace, by which ip(8) names it.
func (i *instance) holder() string { return strconv.Itoa(i.Start("sleep", "3600").Process.Pid) }

// reaches reports whether a ping is answered.
func (i *instance) reaches(address string) bool {
	_, err := i.Try("ping", "-c", "1", "-W", "1", address)
	return err == nil
}
