package kernel_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/network"
	"github.com/ciaocloud/ciao/cluster/network/kernel"
	"github.com/ciaocloud/ciao/cluster/network/networktest"
)

// machine is a host with one node and its CNCIs; other nodes may be beside it.
type machine struct {
	t       testing.TB
	name    string
	host    *networktest.Host
	engine  *networktest.Space
	cluster string
	node    *kernel.Node
	spaces  *kernel.Spaces
	wanted  network.Node
	facts   network.NodeFacts
}

func newMachine(t testing.TB) *machine {
	t.Helper()
	m := newHost(t)
	m.start()
	return m
}

// newHost is a machine before its node's network is made.
func newHost(t testing.TB) *machine {
	t.Helper()
	return &machine{t: t, name: "node-1", host: networktest.NewHost(t), engine: networktest.NewSpace(t), cluster: fmt.Sprintf("t%x", time.Now().UnixNano()&0xffffffff)}
}

// beside is another node on the same host.
func (m *machine) beside(name string) *machine {
	m.t.Helper()
	other := &machine{t: m.t, name: name, host: m.host, engine: networktest.NewSpace(m.t), cluster: m.cluster}
	other.start()
	return other
}

// launch is what a launcher works with; a new one after each restart.
func (m *machine) launch() *kernel.Node {
	return kernel.NewNode(kernel.NodeConfig{Cluster: m.cluster, Node: m.name, Parent: networktest.Parent, Host: m.host.Path(), Engine: m.engine.Path(),
		Log: slog.New(slog.NewTextHandler(m.t.Output(), nil))})
}

// start makes the node's network, and removes it all after the test.
func (m *machine) start() {
	m.t.Helper()
	t := m.t
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	m.node = m.launch()
	m.spaces = kernel.NewSpaces(kernel.SpacesConfig{Cluster: m.cluster, Node: m.name, Parent: networktest.Parent, Host: m.host.Path(), Log: log})
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
	wanted       *network.Concentrator
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
	t.subnet = network.Subnet{ID: "subnet-" + name, Tenant: name, Key: key, Prefix: privateRange, Gateway: netip.MustParseAddr("172.16.0.1"),
		Prefix6: networktest.Prefix6(key), Gateway6: cluster.HostAddress(networktest.Prefix6(key), 1)}
	t.concentrator = t.agent()
	t.wanted = &network.Concentrator{Subnet: t.subnet, Domain: name + ".ciao"}
	t.wanted.Subnet.Peers = []netip.Addr{m.facts.Underlay}
	t.configure()
	t.subnet.Concentrator = t.underlay
	m.wanted.Subnets = append(m.wanted.Subnets, t.subnet)
	m.apply()
	return t
}

// on gives another node the tenant's subnet, with the same CNCI.
func (t *tenant) on(m *machine) *tenant {
	t.t.Helper()
	site := *t
	site.machine = m
	m.wanted.Subnets = append(m.wanted.Subnets, t.subnet)
	return &site
}

// spread tells the nodes that have a tenant's subnet, and its CNCI, where everything is, as the controller does.
func spread(sites ...*tenant) {
	sites[0].t.Helper()
	all := &sites[0].wanted.Subnet
	all.Peers, all.Neighbours = nil, nil
	for _, site := range sites {
		all.Peers = append(all.Peers, site.facts.Underlay)
		all.Neighbours = append(all.Neighbours, site.instances()...)
		wanted := site.machine.wanted.Subnets
		subnet := &wanted[slices.IndexFunc(wanted, func(s network.Subnet) bool { return s.ID == site.subnet.ID })]
		subnet.Peers, subnet.Neighbours = nil, nil
		for _, other := range sites {
			if other != site {
				subnet.Peers = append(subnet.Peers, other.facts.Underlay)
				subnet.Neighbours = append(subnet.Neighbours, other.instances()...)
			}
		}
	}
	sites[0].configure()
	for _, site := range sites {
		site.apply()
	}
}

// instances are the tenant's on the node, as others see them.
func (t *tenant) instances() (all []network.Neighbour) {
	for _, port := range t.machine.wanted.Ports {
		if port.Subnet == t.subnet.ID {
			all = append(all, network.Neighbour{MAC: port.MAC, Node: t.facts.Underlay})
		}
	}
	return all
}

// agent is what the CNCI's agent works with; a new one after each restart.
func (t *tenant) agent() *kernel.Concentrator {
	return kernel.NewConcentrator(kernel.ConcentratorConfig{Cluster: t.cluster, Instance: "cnci-" + t.name, Namespace: t.gateway.Path(), Log: slog.New(slog.NewTextHandler(t.t.Output(), nil))})
}

func (t *tenant) configure() {
	t.t.Helper()
	ctx, cancel := context.WithTimeout(t.t.Context(), 30*time.Second)
	defer cancel()
	facts, err := t.concentrator.Apply(ctx, *t.wanted)
	if err != nil {
		t.t.Fatal(err)
	}
	t.underlay = facts.Underlay
}

// instance is a namespace that stands for a container.
type instance struct {
	*networktest.Space
	tenant   *tenant
	id       string
	address  netip.Addr
	address6 netip.Addr
	mac      string
}

// instance gives a container of the tenant its port and its address.
func (t *tenant) instance(number int) *instance {
	t.t.Helper()
	i := t.port(number)
	i.IP(fmt.Sprintf("addr add %s/24 dev eth0", i.address))
	i.Run("sh", "-c", "echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_dad; echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_ra; echo 0 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6")
	i.IP(fmt.Sprintf("addr add %s/64 dev eth0 nodad", i.address6))
	i.IP("link set eth0 up")
	i.IP("route add default via 172.16.0.1")
	i.IP("-6 route add default via " + t.subnet.Gateway6.String())
	// The bridge forwards for a port a moment after its other end is up.
	networktest.Eventually(t.t, i.id+" reaches its gateway", func() bool { return i.reaches("172.16.0.1") })
	return i
}

// port is an instance without an address of its own yet.
func (t *tenant) port(number int) *instance {
	t.t.Helper()
	i := t.expect(number, network.Veth)
	t.engine.IP("link set " + network.EngineEnd(i.id) + " netns " + holder(i.Space) + " name eth0")
	return i
}

// expect has the node and the CNCI know of an instance.
func (t *tenant) expect(number int, kind network.PortKind) *instance {
	t.t.Helper()
	address := netip.AddrFrom4([4]byte{172, 16, 0, byte(number)})
	i := &instance{Space: networktest.NewSpace(t.t), tenant: t, id: fmt.Sprintf("%s-%d", t.name, number), address: address,
		address6: cluster.HostAddress(t.subnet.Prefix6, uint32(number)), mac: network.MACOf(address).String()}
	t.machine.wanted.Ports = append(t.machine.wanted.Ports, network.Port{Instance: i.id, Subnet: t.subnet.ID, Kind: kind, MAC: i.mac, Addresses: []netip.Addr{address, i.address6}})
	t.apply()
	t.wanted.Hosts = append(t.wanted.Hosts, network.Host{Name: fmt.Sprintf("web-%d", number), MAC: i.mac, Addresses: []netip.Addr{address, i.address6}})
	t.configure()
	return i
}

// reaches reports whether a ping is answered.
func (i *instance) reaches(address string) bool {
	_, err := i.Try("ping", "-c", "1", "-W", "1", address)
	return err == nil
}
