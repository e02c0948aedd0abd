package controller

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/ipam"
	"github.com/ciaocloud/ciao/cluster/payload"
)

// publish makes a workload with published ports.
func (w *world) publish(name string, ports ...cluster.PortSpec) {
	w.t.Helper()
	spec := containerSpec()
	spec.Ports = ports
	if _, err := w.c.CreateWorkload(w.ctx, Operator, WorkloadRequest{Name: name, Spec: spec}); err != nil {
		w.t.Fatal(err)
	}
}

// leads are the hosts that a port of the CNCI leads to, as all CNCIs have applied it.
func (w *world) leads(published uint16) (hosts []string) {
	w.fake.with(func() {
		for _, agent := range w.fake.agents {
			for host, ports := range agent.ports {
				if slices.ContainsFunc(ports, func(p payload.HostPort) bool { return !p.External && p.Published == published }) {
					hosts = append(hosts, host)
				}
			}
		}
	})
	return hosts
}

func (w *world) published(instance string) []PublishedPort {
	return w.c.PublishedPorts(w.instance(instance))
}

// No two instances of a subnet share a number, whatever the subnet, and none meets a named one or a login's.
func TestChosenPortsAreUnique(t *testing.T) {
	spec := cluster.WorkloadSpec{Kind: cluster.KindVM, Image: "x"}
	for port := range cluster.MaxChosenPorts {
		spec.Ports = append(spec.Ports, cluster.PortSpec{Port: port + 1})
	}
	spec = spec.WithDefaults()
	for _, text := range []string{"172.16.0.0/24", "172.31.240.0/20", "172.20.0.0/16", "172.16.255.248/29"} {
		prefix := netip.MustParsePrefix(text)
		seen := map[uint16]netip.Addr{}
		for host := range uint32(ipam.Capacity(prefix)) {
			address := cluster.HostAddress(prefix, host+ipam.Gateway+1)
			ports := hostPorts(cluster.Instance{Spec: spec, Addresses: []netip.Addr{address}}, prefix)
			if len(ports) != cluster.MaxChosenPorts {
				t.Fatalf("%s: %s has the ports %v", prefix, address, ports)
			}
			for _, port := range ports {
				if other, used := seen[port.Published]; used || port.Published < cluster.FirstChosenPort || port.Published > firstLoginPort {
					t.Fatalf("%s: %s has the port %d of %s", prefix, address, port.Published, other)
				}
				seen[port.Published] = address
			}
		}
	}
}

func TestPublishedPorts(t *testing.T) {
	inWorld(t, func(w *world) {
		w.pool("lab", "203.0.113.16/28")
		w.publish("server",
			cluster.PortSpec{Port: 80},
			cluster.PortSpec{Port: 53, Protocol: cluster.UDP, Published: 53},
			cluster.PortSpec{Port: 81},
			cluster.PortSpec{Port: 8080, Address: cluster.AtExternalIP, Published: 80})
		w.createOf("server", "s", 1)
		w.untilState(cluster.Active, 1)
		onCNCI := []payload.HostPort{{Published: 16008, Port: 80}, {Published: 53, Port: 53, UDP: true}, {Published: 16009, Port: 81}, {Published: 80, Port: 8080, External: true}}
		applied := func() (ports []payload.HostPort) {
			w.fake.with(func() {
				for _, agent := range w.fake.agents {
					ports = append(ports, agent.ports["s"]...)
				}
			})
			return ports
		}
		if diff := cmp.Diff(onCNCI, applied()); diff != "" {
			t.Error("the CNCI has (-want +got):", diff)
		}
		cncis, err := w.c.CNCIs(w.ctx, w.tenant.ID)
		if err != nil || len(cncis) != 1 {
			t.Fatal(cncis, err)
		}
		own := cncis[0].Underlay
		want := []PublishedPort{
			{netip.AddrPortFrom(own, 16008), cluster.TCP, 80}, {netip.AddrPortFrom(own, 53), cluster.UDP, 53}, {netip.AddrPortFrom(own, 16009), cluster.TCP, 81},
		}
		same := cmpopts.EquateComparable(netip.AddrPort{})
		if diff := cmp.Diff(want, w.published("s"), same); diff != "" {
			t.Error("without an external IP (-want +got):", diff)
		}
		one, two := w.lendTo("s"), w.lendTo("s")
		for _, address := range []string{one, two} {
			want = append(want, PublishedPort{netip.AddrPortFrom(netip.MustParseAddr(address), 80), cluster.TCP, 8080})
		}
		if diff := cmp.Diff(want, w.published("s"), same); diff != "" {
			t.Error("with two external IPs (-want +got):", diff)
		}
		w.restart()
		w.untilExternal(one, cluster.ExternalMapped)
		if diff := cmp.Diff(onCNCI, applied()); diff != "" {
			t.Error("after a restart the CNCI has (-want +got):", diff)
		}
	})
}

func TestNamedPortLeadsToOneInstance(t *testing.T) {
	inOffice(t, func(w *world) {
		w.publish("server", cluster.PortSpec{Port: 80, Published: 8080})
		w.publish("other", cluster.PortSpec{Port: 8080}, cluster.PortSpec{Port: 81, Published: 8080})
		w.publish("datagrams", cluster.PortSpec{Port: 81, Published: 8080, Protocol: cluster.UDP})
		w.publish("chosen", cluster.PortSpec{Port: 8080})
		ask := func(tenant, workload, name string, count int) error {
			_, err := w.c.CreateInstances(w.ctx, tenant, InstanceRequest{Workload: workload, Name: name, Count: count})
			return err
		}
		red, blue := w.tenant.ID, w.addTenant("blue").ID
		refused := func(err, class error, says string) {
			t.Helper()
			if !errors.Is(err, class) || !strings.Contains(err.Error(), says) {
				t.Errorf("%v, want %v that says %q", err, class, says)
			}
		}
		allowed := func(err error) {
			t.Helper()
			if err != nil {
				t.Error(err)
			}
		}
		refused(ask(red, "server", "s", 2), cluster.ErrInvalid, "port 8080/tcp of the CNCI: invalid: it can lead to one instance; create one")
		allowed(ask(red, "server", "s", 1))
		refused(ask(red, "server", "t", 1), cluster.ErrConflict, "port 8080/tcp of the CNCI: conflict: it leads to instance s; delete that first") // s is still in its batch
		allowed(w.c.unfoldAll(w.ctx, Operator))
		refused(ask(red, "other", "t", 1), cluster.ErrConflict, "it leads to instance s")
		allowed(ask(red, "datagrams", "d", 1))
		allowed(ask(red, "chosen", "c", 3))
		allowed(ask(blue, "server", "s", 1))
		if got := len(w.instances()); got != 6 {
			t.Errorf("%d instances are there, want 6", got)
		}
	})
}

// A named port is its instance's until that is gone.
func TestNamedPortIsFreeAfterItsInstance(t *testing.T) {
	inWorld(t, func(w *world) {
		w.publish("server", cluster.PortSpec{Port: 80, Published: 8080})
		w.createOf("server", "s", 1)
		w.untilState(cluster.Active, 1)
		if _, err := w.c.DeleteInstance(w.ctx, w.tenant.ID, "s"); err != nil {
			t.Fatal(err)
		}
		w.untilGone()
		w.createOf("server", "t", 1)
		w.until("it leads to the next", func() bool { return slices.Equal(w.leads(8080), []string{"t"}) })
	})
}

// starting has an instance of a workload that starts elsewhere first, and publishes port 8080 of the CNCI, run on the first of two nodes.
func (w *world) starting(name string) {
	w.t.Helper()
	spec := containerSpec()
	spec.Drain, spec.Ports = cluster.StartFirst, []cluster.PortSpec{{Port: 80, Published: 8080}}
	if _, err := w.c.CreateWorkload(w.ctx, Operator, WorkloadRequest{Name: "starting", Spec: spec}); err != nil {
		w.t.Fatal(err)
	}
	w.createOf("starting", name, 1)
	w.untilState(cluster.Active, 1)
}

func TestSuccessorInheritsNamedPorts(t *testing.T) {
	inWorld(t, func(w *world) {
		w.starting("s")
		first, second := w.fake.order[0], w.fake.addNode(2)
		w.until("the second is ready", func() bool { n, _ := w.c.Node(w.ctx, second); return n.State == cluster.NodeReady })
		w.evacuate(first, false)
		w.until("it is replaced", func() bool { return w.replaced(1, second) })
		w.until("the port leads to the successor", func() bool { return slices.Equal(w.leads(8080), []string{"s-r1"}) })
		if got := w.published("s-r1"); len(got) != 1 || got[0].At.Port() != 8080 {
			t.Errorf("the successor publishes %v", got)
		}
	})
}

// Where another instance of the successor's subnet has the port, the old one moves instead, and keeps its subnet.
func TestSuccessorDoesNotTakeTheNamedPortOfOthers(t *testing.T) {
	inWorld(t, func(w *world) {
		bits := cluster.MaxSubnetBits
		if _, _, err := w.c.UpdateTenant(w.ctx, "red", TenantUpdate{SubnetBits: &bits}, 0); err != nil {
			t.Fatal(err)
		}
		w.starting("s")
		w.create(4, "web") // the subnet is full
		w.publish("server", cluster.PortSpec{Port: 80, Published: 8080})
		w.createOf("server", "holder", 1)
		w.untilState(cluster.Active, 6)
		before := w.instance("s")
		if before.Subnet == w.instance("holder").Subnet {
			t.Fatal("both are in one subnet: this shows nothing")
		}
		first, second := w.fake.order[0], w.fake.addNode(2)
		w.until("the second is ready", func() bool { n, _ := w.c.Node(w.ctx, second); return n.State == cluster.NodeReady })
		w.evacuate(first, false)
		w.until("all have moved", func() bool { return w.replaced(6, second) })
		if now := w.instance("s"); now.ID != before.ID || w.hasEvent("NotReplaced") != 1 {
			t.Errorf("%s became %s, with %d events", before.ID, now.ID, w.hasEvent("NotReplaced"))
		}
		w.until("each port leads where it did", func() bool { got := w.leads(8080); slices.Sort(got); return slices.Equal(got, []string{"holder", "s"}) })
	})
}

// As many instances as a subnet holds, with as much of everything as they may have, fit into one frame.
func TestWantedStateOfAFullSubnetIsOneFrame(t *testing.T) {
	const frame = 1 << 20 // the most that a frame carries unless it is told otherwise
	spec := cluster.WorkloadSpec{Kind: cluster.KindVM, Image: "x"}
	for port := range cluster.MaxPorts {
		p := cluster.PortSpec{Port: 60000 + port}
		if port >= cluster.MaxChosenPorts {
			p.Address, p.Published = cluster.AtExternalIP, 50000+port
		}
		spec.Ports = append(spec.Ports, p)
	}
	spec = spec.WithDefaults()
	n := newNetwork()
	n.subnet = cluster.Subnet{ID: uuid.NewString(), Tenant: uuid.NewString(), Prefix: netip.MustParsePrefix("172.16.0.0/20"), Prefix6: netip.MustParsePrefix("fd00:1:2:3::/64")}
	for k := range uint32(ipam.Capacity(n.subnet.Prefix)) {
		host := k + ipam.Gateway + 1
		address := cluster.HostAddress(n.subnet.Prefix, host)
		n.join(cluster.Instance{
			ID: uuid.NewString(), Name: fmt.Sprintf("%063d", host), Kind: cluster.KindVM, Spec: spec, MAC: cluster.HardwareAddress(address), Node: "node",
			Addresses: []netip.Addr{address, cluster.HostAddress(n.subnet.Prefix6, host)},
		})
	}
	wanted := n.build(1, "tenant.ciao", nil, func(string) []netip.Addr { return []netip.Addr{netip.MustParseAddr("198.51.100.60")} })
	body, err := payload.Encode(payload.Configure{Concentrator: &wanted.body})
	if err != nil {
		t.Fatal(err)
	}
	if len(wanted.body.Hosts) != ipam.MaxHosts || len(body) > frame {
		t.Errorf("%d hosts make %d bytes, want %d in at most %d", len(wanted.body.Hosts), len(body), ipam.MaxHosts, frame)
	}
}

// A port that passes on is a reason to tell the CNCI, though nothing else has changed.
func TestWantedStateWithOtherPortsIsAnother(t *testing.T) {
	i := cluster.Instance{ID: "i", Node: "node", Addresses: []netip.Addr{netip.MustParseAddr("172.16.0.2")},
		Spec: cluster.WorkloadSpec{Kind: cluster.KindContainer, Ports: []cluster.PortSpec{{Port: 80, Published: 80}}}.WithDefaults()}
	n := newNetwork()
	n.subnet.Prefix = netip.MustParsePrefix("172.16.0.0/24")
	build := func() *wanted {
		n.join(i)
		return n.build(1, "tenant.ciao", nil, func(string) []netip.Addr { return nil })
	}
	before, again := build(), build()
	if i.Retired = true; !again.equal(before) || build().equal(before) {
		t.Error("the two are taken for the same")
	}
}
