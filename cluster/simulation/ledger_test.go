package simulation

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

// ledger is what a store records, read from its rows: from a backup or from the store itself.
type ledger struct {
	instances []cluster.Instance // CNCIs too
	folded    []cluster.Instance // those that still are a part of a batch
	subnets   map[string]cluster.Subnet
	usage     map[string]cluster.Usage // by tenant
	nodes     map[string]cluster.Node
}

func readLedger(rows iter.Seq2[store.RawRow, error]) (*ledger, error) {
	l := &ledger{subnets: map[string]cluster.Subnet{}, usage: map[string]cluster.Usage{}, nodes: map[string]cluster.Node{}}
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

func (l *ledger) add(row store.RawRow) error {
	table, key, _ := strings.Cut(row.Path, "/")
	switch table {
	case "instances":
		var i cluster.Instance
		err := json.Unmarshal(row.Value, &i)
		l.instances = append(l.instances, i)
		return err
	case "batches":
		var b cluster.Batch
		err := json.Unmarshal(row.Value, &b)
		for i := range b.Instances(b.Unfolded) {
			l.folded = append(l.folded, i)
		}
		return err
	case "subnets":
		var s cluster.Subnet
		err := json.Unmarshal(row.Value, &s)
		l.subnets[key] = s
		return err
	case "usage":
		var u struct{ Usage cluster.Usage }
		err := json.Unmarshal(row.Value, &u)
		l.usage[key] = u.Usage
		return err
	case "nodes":
		var n cluster.Node
		err := json.Unmarshal(row.Value, &n)
		l.nodes[key] = n
		return err
	}
	return nil
}

// visible yields the tenants' instances.
func (l *ledger) visible(yield func(cluster.Instance) bool) {
	for _, list := range [][]cluster.Instance{l.instances, l.folded} {
		for _, i := range list {
			if !i.Host() && !yield(i) {
				return
			}
		}
	}
}

// check compares the reservations with the instances; they agree at every revision.
func (l *ledger) check() error {
	usage, held := map[string]cluster.Usage{}, map[string]map[uint32]string{}
	var wrong []error
	for i := range l.visible {
		u := usage[i.Tenant]
		u.Instances++
		u.CPU += i.Spec.Requirements.VCPUs
		u.MemoryMiB += i.Spec.Requirements.MemoryMiB
		usage[i.Tenant] = u
		for _, address := range i.Addresses {
			wrong = append(wrong, l.hold(held, i, address))
		}
	}
	for tenant, recorded := range l.usage {
		if recorded != usage[tenant] {
			wrong = append(wrong, fmt.Errorf("tenant %s: usage is %+v, its instances make %+v", tenant, recorded, usage[tenant]))
		}
	}
	for id, subnet := range l.subnets {
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
func (l *ledger) hold(held map[string]map[uint32]string, i cluster.Instance, address netip.Addr) error {
	host, ok := cluster.HostNumber(l.subnets[i.Subnet].Prefix, address)
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
