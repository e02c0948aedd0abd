package controller

import (
	"context"
	"fmt"
	"iter"
	"net/netip"
	"slices"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/cluster/store"
)

// Published ports take no rows of their own. A number that is chosen for an instance follows from its address alone, as the port of its
// login does. A number that a workload names is the instance's of it in a subnet: creating a second one is refused (claimPorts).

// chosenPort is the number on the CNCI's address of an instance's port n of those that the workload does not name.
func chosenPort(host uint32, n int) uint16 {
	return uint16(cluster.FirstChosenPort + host*cluster.MaxChosenPorts + uint32(n))
}

// hostPorts are the ports that lead to an instance. A port that its workload names stays with the one that an instance is to take over from until
// it does, and goes with the decision that the new one counts.
func hostPorts(i cluster.Instance, prefix netip.Prefix) (ports []payload.HostPort) {
	host, ok := cluster.HostNumber(prefix, internalAddress(i.Addresses))
	if !ok {
		return nil
	}
	chosen := 0
	for _, p := range i.Spec.Ports {
		port := payload.HostPort{Published: uint16(p.Published), Port: uint16(p.Port), UDP: p.Protocol == cluster.UDP, External: p.Address == cluster.AtExternalIP}
		switch {
		case p.Chosen():
			port.Published = chosenPort(host, chosen)
			chosen++
		case p.Named() && (i.Retired || i.Replaces != ""):
			continue
		}
		ports = append(ports, port)
	}
	return ports
}

// PublishedPort is where a port of an instance is reached from outside its network.
type PublishedPort struct {
	At       netip.AddrPort
	Protocol cluster.Protocol
	Port     int // of the instance
}

// PublishedPorts are where the ports of an instance are reached, as far as it has a CNCI or external IPs. It reads the store's memory, which waits
// for nothing.
func (c *Controller) PublishedPorts(i cluster.Instance) (published []PublishedPort) {
	if len(i.Spec.Ports) == 0 {
		return nil
	}
	err := c.view(context.Background(), func(r store.Reader) error {
		subnet, err := subnets.Get(r, i.Subnet)
		if err != nil {
			return err
		}
		cnci, _ := cnciOf(r, subnet)
		external := externalAddresses(r, i.ID)
		for _, port := range hostPorts(i, subnet.Prefix) {
			at := []netip.Addr{cnci.Underlay}
			if port.External {
				at = external
			}
			for _, address := range at {
				if address.IsValid() {
					published = append(published, PublishedPort{netip.AddrPortFrom(address, port.Published), protocolOf(port), int(port.Port)})
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil // it has no subnet yet
	}
	return published
}

func protocolOf(p payload.HostPort) cluster.Protocol {
	if p.UDP {
		return cluster.UDP
	}
	return cluster.TCP
}

// claimPorts refuses instances whose workload names ports of the CNCI that others of the same subnet have. It relies on the tenant's usage row being
// written in the same transaction.
func claimPorts(r store.Reader, spec cluster.WorkloadSpec, tenant string, segments []cluster.BatchSegment) error {
	named := slices.DeleteFunc(slices.Clone(spec.Ports), func(p cluster.PortSpec) bool { return !p.Named() })
	if len(named) == 0 {
		return nil
	}
	count := 0
	for _, segment := range segments {
		count += segment.Range.Len()
		for other := range inSubnet(r, tenant, segment.Subnet) {
			if p, taken := shared(named, other.Spec.Ports); taken {
				return fmt.Errorf("port %d/%s of the CNCI: %w: it leads to instance %s; delete that first, or use a workload that names another number, or none",
					p.Published, p.Protocol, cluster.ErrConflict, other.Name)
			}
		}
	}
	if count > 1 {
		return fmt.Errorf("port %d/%s of the CNCI: %w: it can lead to one instance; create one, or use a workload that names no number (published)",
			named[0].Published, named[0].Protocol, cluster.ErrInvalid)
	}
	return nil
}

// shared is a port of the CNCI that both lists name.
func shared(named, others []cluster.PortSpec) (cluster.PortSpec, bool) {
	for _, p := range named {
		if slices.ContainsFunc(others, func(o cluster.PortSpec) bool {
			return o.Named() && o.Published == p.Published && o.Protocol == p.Protocol
		}) {
			return p, true
		}
	}
	return cluster.PortSpec{}, false
}

// inSubnet yields the instances of a tenant's subnet that have published ports, also those that are not unfolded yet.
func inSubnet(r store.Reader, tenant, subnet string) iter.Seq[cluster.Instance] {
	return func(yield func(cluster.Instance) bool) {
		for instance := range instances.By(r, bySubnet, subnet) {
			if len(instance.Spec.Ports) > 0 && !yield(instance) {
				return
			}
		}
		for batch := range batches.By(r, byTenant, tenant) {
			if len(batch.Template.Spec.Ports) == 0 {
				continue
			}
			for instance := range batch.Instances(batch.Unfolded) {
				if instance.Subnet == subnet && !yield(instance) {
					return
				}
			}
		}
	}
}
