package chaostest

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"strings"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/store"
)

// Ledger is what a store records.
type Ledger struct {
	Instances []cluster.Instance // CNCIs too
	Folded    []cluster.Instance // those that still are a part of a batch
	Subnets   map[string]cluster.Subnet
	Usage     map[string]cluster.Usage // by tenant
	Nodes     map[string]cluster.Node
}

// ReadLedger reads a store's rows: its own or those of a backup.
func ReadLedger(rows iter.Seq2[store.RawRow, error]) (*Ledger, error) {
	l := &Ledger{Subnets: map[string]cluster.Subnet{}, Usage: map[string]cluster.Usage{}, Nodes: map[string]cluster.Node{}}
	for row, err := range rows {
		if err == nil {
			err = l.add(row)
		}
		if err != nil {
			return nil, err
		}
	}
	return l, nil
}

func (l *Ledger) add(row store.RawRow) error {
	table, key, _ := strings.Cut(row.Path, "/")
	switch table {
	case "instances":
		var i cluster.Instance
		err := json.Unmarshal(row.Value, &i)
		l.Instances = append(l.Instances, i)
		return err
	case "batches":
		var b cluster.Batch
		err := json.Unmarshal(row.Value, &b)
		for i := range b.Instances(b.Unfolded) {
			l.Folded = append(l.Folded, i)
		}
		return err
	case "subnets":
		var s cluster.Subnet
		err := json.Unmarshal(row.Value, &s)
		l.Subnets[key] = s
		return err
	case "usage":
		var u struct{ Usage cluster.Usage }
		err := json.Unmarshal(row.Value, &u)
		l.Usage[key] = u.Usage
		return err
	case "nodes":
		var n cluster.Node
		err := json.Unmarshal(row.Value, &n)
		l.Nodes[key] = n
		return err
	}
	return nil
}

// Visible yields the tenants' instances.
func (l *Ledger) Visible(yield func(cluster.Instance) bool) {
	for _, list := range [][]cluster.Instance{l.Instances, l.Folded} {
		for _, i := range list {
			if !i.Host() && !yield(i) {
				return
			}
		}
	}
}

// Check compares the reservations with the instances; they agree at every revision.
func (l *Ledger) Check() error {
	usage, held := map[string]cluster.Usage{}, map[string]map[uint32]string{}
	var wrong []error
	for i := range l.Visible {
		u := usage[i.Tenant]
		u.Instances++
		u.CPU += i.Spec.Requirements.VCPUs
		u.MemoryMiB += i.Spec.Requirements.MemoryMiB
		usage[i.Tenant] = u
		for _, address := range i.Addresses {
			wrong = append(wrong, l.hold(held, i, address))
		}
	}
	for tenant, recorded := range l.Usage {
		if recorded != usage[tenant] {
			wrong = append(wrong, fmt.Errorf("tenant %s: usage is %+v, its instances make %+v", tenant, recorded, usage[tenant]))
		}
	}
	for id, subnet := range l.Subnets {
		allocated := 0
		for _, r := range subnet.Allocated {
			allocated += r.Len()
			for host := r.First; host <= r.Last; host++ {
				if held[id][host] == "" {
					wrong = append(wrong, fmt.Errorf("subnet %s: host number %d is allocated, and nobody has it", subnet.Prefix, host))
				}
			}
		}
		if allocated != len(held[id]) {
			wrong = append(wrong, fmt.Errorf("subnet %s: %d addresses are allocated, its instances have %d",
				subnet.Prefix, allocated, len(held[id])))
		}
	}
	return errors.Join(wrong...)
}

// hold notes who has an address.
func (l *Ledger) hold(held map[string]map[uint32]string, i cluster.Instance, address netip.Addr) error {
	subnet := l.Subnets[i.Subnet]
	if address.Is6() {
		if host, ok := cluster.HostNumber(subnet.Prefix, i.Addresses[0]); !ok || address != cluster.HostAddress(subnet.Prefix6, host) {
			return fmt.Errorf("instance %s: %s is not the address of its subnet that belongs to %s", i.Name, address, i.Addresses[0])
		}
		return nil
	}
	host, ok := cluster.HostNumber(subnet.Prefix, address)
	if !ok {
		return fmt.Errorf("instance %s: %s is not in its subnet", i.Name, address)
	}
	if held[i.Subnet] == nil {
		held[i.Subnet] = map[uint32]string{}
	}
	if other := held[i.Subnet][host]; other != "" {
		return fmt.Errorf("instances %s and %s both have %s", other, i.Name, address)
	}
	held[i.Subnet][host] = i.Name
	return nil
}
