package controller

import (
	"net/netip"
	"slices"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/store"
)

// Indexes of the tables.
const (
	byTenant   = "tenant"
	byNode     = "node"
	bySubnet   = "subnet"
	byWorkload = "workload"
	byName     = "name" // of instances: tenant/name
	byState    = "state"
	byGroup    = "group" // of instances: togetherKey, spreadKey
	byPool     = "pool"
	byInstance = "instance"
)

// usageRow is what a tenant holds. Every transaction that adds or removes an instance of the tenant writes it, and so do those that give
// a member of a group a node or an instance's external IPs to its successor: it puts them one after the other.
type usageRow struct {
	Tenant string        `json:"tenant"`
	Usage  cluster.Usage `json:"usage"`
}

// claim makes a name or number unique: its key says of what, its row who has it.
type claim struct {
	Key   string `json:"key"`
	Owner string `json:"owner"`
}

// rangeRow is a range that is the cluster's own.
type rangeRow struct {
	Name   string       `json:"name"`
	Prefix netip.Prefix `json:"prefix"`
}

func tenantClaim(name string) string          { return "tenant/" + name }
func workloadClaim(owner, name string) string { return "workload/" + owner + "/" + name }

var (
	tenants = store.NewTable("tenants", func(t cluster.Tenant) string { return t.ID },
		store.Index[cluster.Tenant]{Name: byName, Keys: func(t cluster.Tenant) []string { return []string{t.Name} }})

	usages = store.NewTable("usage", func(u usageRow) string { return u.Tenant })

	claims = store.NewTable("claims", func(c claim) string { return c.Key })

	workloads = store.NewTable("workloads", func(w cluster.Workload) string { return w.ID },
		store.Index[cluster.Workload]{Name: byTenant, Keys: func(w cluster.Workload) []string { return []string{ownerKey(w.Tenant)} }})

	images = store.NewTable("images", func(i cluster.Image) string { return i.ID },
		store.Index[cluster.Image]{Name: byTenant, Keys: func(i cluster.Image) []string { return []string{ownerKey(i.Tenant)} }})

	sshKeys = store.NewTable("ssh-keys", func(k cluster.SSHKey) string { return k.ID },
		store.Index[cluster.SSHKey]{Name: byTenant, Keys: func(k cluster.SSHKey) []string { return []string{k.Tenant} }},
		store.Index[cluster.SSHKey]{Name: byName, Keys: func(k cluster.SSHKey) []string { return []string{k.Name} }})

	volumes = store.NewTable("volumes", func(v cluster.Volume) string { return v.ID },
		store.Index[cluster.Volume]{Name: byTenant, Keys: func(v cluster.Volume) []string { return []string{v.Tenant} }},
		store.Index[cluster.Volume]{Name: byNode, Keys: func(v cluster.Volume) []string { return known(v.Node) }},
		store.Index[cluster.Volume]{Name: byInstance, Keys: func(v cluster.Volume) []string { return known(v.Instance) }},
		store.Index[cluster.Volume]{Name: byName, Keys: volumeNames},
		store.Index[cluster.Volume]{Name: byState, Keys: func(v cluster.Volume) []string { return []string{string(v.State)} }})

	instances = store.NewTable("instances", func(i cluster.Instance) string { return i.ID },
		store.Index[cluster.Instance]{Name: byTenant, Keys: func(i cluster.Instance) []string { return []string{i.Tenant} }},
		store.Index[cluster.Instance]{Name: byNode, Keys: func(i cluster.Instance) []string { return known(i.Node) }},
		store.Index[cluster.Instance]{Name: bySubnet, Keys: func(i cluster.Instance) []string { return known(i.Subnet) }},
		store.Index[cluster.Instance]{Name: byWorkload, Keys: func(i cluster.Instance) []string { return known(i.Workload) }},
		store.Index[cluster.Instance]{Name: byName, Keys: instanceNames},
		store.Index[cluster.Instance]{Name: byGroup, Keys: groupsOf},
		store.Index[cluster.Instance]{Name: byState, Keys: func(i cluster.Instance) []string { return []string{string(i.State)} }})

	batches = store.NewTable("batches", func(b cluster.Batch) string { return b.ID },
		store.Index[cluster.Batch]{Name: byTenant, Keys: func(b cluster.Batch) []string { return []string{b.Template.Tenant} }})

	subnets = store.NewTable("subnets", func(s cluster.Subnet) string { return s.ID },
		store.Index[cluster.Subnet]{Name: byTenant, Keys: func(s cluster.Subnet) []string { return []string{s.Tenant} }})

	ownRanges = store.NewTable("ranges", func(r rangeRow) string { return r.Name })

	nodes = store.NewTable("nodes", func(n cluster.Node) string { return n.ID },
		store.Index[cluster.Node]{Name: byName, Keys: func(n cluster.Node) []string { return known(n.Hostname) }})

	pools = store.NewTable("pools", func(p cluster.Pool) string { return p.ID })

	externalIPs = store.NewTable("external-ips", func(e cluster.ExternalIP) string { return e.Address.String() },
		store.Index[cluster.ExternalIP]{Name: byTenant, Keys: func(e cluster.ExternalIP) []string { return []string{e.Tenant} }},
		store.Index[cluster.ExternalIP]{Name: byPool, Keys: func(e cluster.ExternalIP) []string { return []string{e.Pool} }},
		store.Index[cluster.ExternalIP]{Name: bySubnet, Keys: func(e cluster.ExternalIP) []string { return known(e.Subnet) }},
		store.Index[cluster.ExternalIP]{Name: byInstance, Keys: func(e cluster.ExternalIP) []string { return known(e.Instance) }})

	revocationLists = store.NewTable("revocations", func(r revocationsRow) string { return r.Key })

	events = store.NewTable("events", func(e cluster.Event) string { return e.ID },
		store.Index[cluster.Event]{Name: byTenant, Keys: func(e cluster.Event) []string { return known(e.Tenant) }})
)

// Schema is what a store for a controller must be opened with.
func Schema() store.Schema {
	return store.Schema{Tables: []store.AnyTable{
		tenants, usages, claims, workloads, instances, batches, subnets, nodes, events, restorations, images, pools, externalIPs, ownRanges, volumes, sshKeys, revocationLists,
	}}
}

// ownerKey indexes public workloads and images, which have no owner.
func ownerKey(tenant string) string {
	if tenant == "" {
		return "public"
	}
	return tenant
}

func known(key string) []string {
	if key == "" {
		return nil
	}
	return []string{key}
}

// instanceNames is under which names an instance is found: its own alone for the operator, and with its tenant. CNCIs have none.
func instanceNames(i cluster.Instance) []string {
	if i.Host() {
		return nil
	}
	return []string{i.Name, i.Tenant + "/" + i.Name}
}

// volumeNames is under which names a volume is found: its own alone for the operator, and with its tenant.
func volumeNames(v cluster.Volume) []string {
	if v.Name == "" {
		return nil
	}
	return []string{v.Name, v.Tenant + "/" + v.Name}
}

// Paged cuts a list that is in order of ids; next is empty when nothing follows.
func Paged[T any](all []T, p Page, id func(T) string) (items []T, next string) {
	if p.After != "" {
		start, found := slices.BinarySearchFunc(all, p.After, func(item T, after string) int {
			return compareText(id(item), after)
		})
		if found {
			start++
		}
		all = all[start:]
	}
	if p.Limit > 0 && len(all) > p.Limit {
		all = all[:p.Limit:p.Limit]
		next = id(all[len(all)-1])
	}
	return all, next
}
