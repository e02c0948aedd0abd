package cli

import (
	"cmp"
	"fmt"
	"strconv"

	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/terminal"
)

type column[T any] = terminal.Column[T]

var instanceColumns = []column[api.Instance]{
	{Title: "id", Value: func(i api.Instance) string { return i.ID }},
	{Title: "name", Value: func(i api.Instance) string { return i.Name }},
	{Title: "tenant", Value: func(i api.Instance) string { return i.Tenant }},
	{Title: "workload", Value: func(i api.Instance) string { return i.Workload }},
	{Title: "kind", Value: func(i api.Instance) string { return string(i.Kind) }},
	{Title: "state", Value: func(i api.Instance) string { return string(i.State) }},
	{Title: "desired", Value: func(i api.Instance) string { return string(i.Desired) }},
	{Title: "reason", Value: func(i api.Instance) string { return i.Reason }},
	{Title: "exit code", Value: func(i api.Instance) string { return number(i.ExitCode) }},
	{Title: "node", Value: func(i api.Instance) string { return i.Node }},
	{Title: "placement", Value: func(i api.Instance) string { return i.Explanation }},
	{Title: "refused by", Value: func(i api.Instance) string { return refusals(i.Refusals) }},
	{Title: "addresses", Value: func(i api.Instance) string { return join(i.Addresses) }},
	{Title: "external ips", Value: func(i api.Instance) string { return join(i.ExternalIPs) }},
	{Title: "mac", Value: func(i api.Instance) string { return i.MAC }},
	{Title: "subnet", Value: func(i api.Instance) string { return i.Subnet }},
	{Title: "replaces", Value: func(i api.Instance) string { return i.Replaces }},
	{Title: "ssh", Value: func(i api.Instance) string { return login(i.SSH) }},
	{Title: "ports", Value: func(i api.Instance) string { return published(i.Ports) }},
	{Title: "labels", Value: func(i api.Instance) string { return pairs(i.Labels) }},
	{Title: "vcpus", Value: func(i api.Instance) string { return decimal(i.VCPUs) }},
	{Title: "memory", Value: func(i api.Instance) string { return mib(i.MemoryMiB) }},
	{Title: "disk", Value: func(i api.Instance) string { return mib(i.DiskMiB) }},
	{Title: "generation", Value: func(i api.Instance) string { return strconv.FormatUint(i.Generation, 10) }},
	{Title: "created", Value: func(i api.Instance) string { return clock(i.Created) }},
	{Title: "age", Value: func(i api.Instance) string { return age(i.Created) }},
	{Title: "changed", Value: func(i api.Instance) string { return clock(i.Changed) }},
}

var instanceList = terminal.Choose(instanceColumns, "name", "state", "kind", "workload", "addresses", "age", "id", "reason")

// instanceListOfAll is for instances of several tenants.
var instanceListOfAll = append(terminal.Choose(instanceColumns, "tenant"), instanceList...)

var workloadColumns = []column[api.Workload]{
	{Title: "id", Value: func(w api.Workload) string { return w.ID }},
	{Title: "name", Value: func(w api.Workload) string { return w.Name }},
	{Title: "description", Value: func(w api.Workload) string { return w.Description }},
	{Title: "tenant", Value: func(w api.Workload) string { return w.Tenant }},
	{Title: "visibility", Value: func(w api.Workload) string { return string(w.Visibility) }},
	{Title: "kind", Value: func(w api.Workload) string { return string(w.Kind) }},
	{Title: "image", Value: func(w api.Workload) string { return w.Image }},
	{Title: "pull", Value: func(w api.Workload) string { return string(w.Pull) }},
	{Title: "command", Value: func(w api.Workload) string { return quoted(w.Command) }},
	{Title: "user", Value: func(w api.Workload) string { return w.User }},
	{Title: "directory", Value: func(w api.Workload) string { return w.Directory }},
	{Title: "environment", Value: func(w api.Workload) string { return pairs(w.Environment) }},
	{Title: "vcpus", Value: func(w api.Workload) string { return decimal(w.Requirements.VCPUs) }},
	{Title: "memory", Value: func(w api.Workload) string { return mib(w.Requirements.MemoryMiB) }},
	{Title: "disk", Value: func(w api.Workload) string { return mib(w.Requirements.DiskMiB) }},
	{Title: "pids", Value: func(w api.Workload) string { return strconv.FormatInt(w.Requirements.Pids, 10) }},
	{Title: "node", Value: func(w api.Workload) string { return w.Requirements.Node }},
	{Title: "hostname", Value: func(w api.Workload) string { return w.Requirements.Hostname }},
	{Title: "node labels", Value: func(w api.Workload) string { return pairs(w.Requirements.Labels) }},
	{Title: "ports", Value: func(w api.Workload) string { return publishes(w.Ports) }},
	{Title: "together", Value: func(w api.Workload) string { return w.Requirements.Together }},
	{Title: "spread", Value: func(w api.Workload) string { return w.Requirements.Spread }},
	{Title: "privileged", Value: func(w api.Workload) string { return strconv.FormatBool(w.Privileged) }},
	{Title: "drain", Value: func(w api.Workload) string { return string(w.Drain) }},
	{Title: "restart", Value: func(w api.Workload) string { return string(w.Restart) }},
	{Title: "stop grace", Value: func(w api.Workload) string { return w.StopGrace }},
	{Title: "created", Value: func(w api.Workload) string { return clock(w.Created) }},
}

var workloadList = terminal.Choose(workloadColumns, "name", "kind", "visibility", "image", "vcpus", "memory", "id", "description")

var usageColumns = []column[api.InstanceUsage]{
	{Title: "name", Value: func(u api.InstanceUsage) string { return u.Name }},
	{Title: "vcpus", Value: func(u api.InstanceUsage) string { return cmp.Or(load(u.VCPUsUsed), "?") + "/" + decimal(u.VCPUs) }},
	{Title: "memory", Value: func(u api.InstanceUsage) string { return amount(u.MemoryMiBUsed) + "/" + mib(u.MemoryMiB) }},
	{Title: "processes", Value: func(u api.InstanceUsage) string { return amount(u.Pids) }},
	{Title: "sampled", Value: func(u api.InstanceUsage) string { return age(u.Time) }},
	{Title: "id", Value: func(u api.InstanceUsage) string { return u.ID }},
	{Title: "node", Value: func(u api.InstanceUsage) string { return u.Node }},
}

// usageColumnsOfAll are for instances of several tenants.
var usageColumnsOfAll = append([]column[api.InstanceUsage]{
	{Title: "tenant", Value: func(u api.InstanceUsage) string { return u.Tenant }},
}, usageColumns...)

var nodeColumns = []column[api.Node]{
	{Title: "hostname", Value: func(n api.Node) string { return n.Hostname }},
	{Title: "state", Value: func(n api.Node) string { return string(n.State) }},
	{Title: "roles", Value: func(n api.Node) string { return join(n.Roles) }},
	{Title: "kinds", Value: func(n api.Node) string { return join(n.Kinds) }},
	{Title: "labels", Value: func(n api.Node) string { return pairs(n.Labels) }},
	{Title: "running", Value: func(n api.Node) string { return fmt.Sprintf("%d/%d", n.Running, n.Instances) }},
	{Title: "vcpus", Value: func(n api.Node) string {
		return decimal(n.VCPUsAllocated) + "/" + decimal(n.VCPUsLimit) + overcommitted(n.VCPUsLimit, n.VCPUs)
	}},
	{Title: "memory", Value: func(n api.Node) string {
		return fmt.Sprintf("%d/%d MiB", n.MemoryMiBAllocated, n.MemoryMiBLimit) + overcommitted(float64(n.MemoryMiBLimit), float64(n.MemoryMiB))
	}},
	{Title: "disk", Value: func(n api.Node) string { return fmt.Sprintf("%d/%d MiB", n.DiskMiBAllocated, n.DiskMiB) }},
	{Title: "load", Value: func(n api.Node) string { return load(n.Load) }},
	{Title: "underlay", Value: func(n api.Node) string { return join(n.Underlay) }},
	{Title: "seen", Value: func(n api.Node) string { return age(n.Seen) }},
	{Title: "id", Value: func(n api.Node) string { return n.ID }},
	{Title: "reason", Value: func(n api.Node) string { return n.Reason }},
}

// overcommitted says how much there really is where another amount may be promised.
func overcommitted(limit, capacity float64) string {
	if limit == capacity {
		return ""
	}
	return " (has " + decimal(capacity) + ")"
}

var imageColumns = []column[api.Image]{
	{Title: "name", Value: func(i api.Image) string { return i.Name }},
	{Title: "state", Value: func(i api.Image) string { return string(i.State) }},
	{Title: "format", Value: func(i api.Image) string { return string(i.Format) }},
	{Title: "size", Value: uploadedOf},
	{Title: "disk", Value: func(i api.Image) string { return size(i.DiskBytes) }},
	{Title: "visibility", Value: func(i api.Image) string { return string(i.Visibility) }},
	{Title: "tenant", Value: func(i api.Image) string { return i.Tenant }},
	{Title: "digest", Value: func(i api.Image) string { return i.Digest }},
	{Title: "created", Value: func(i api.Image) string { return clock(i.Created) }},
	{Title: "id", Value: func(i api.Image) string { return i.ID }},
	{Title: "reason", Value: func(i api.Image) string { return i.Reason }},
}

var imageList = []column[api.Image]{
	{Title: "name", Value: func(i api.Image) string { return i.Name }},
	{Title: "state", Value: func(i api.Image) string { return string(i.State) }},
	{Title: "format", Value: func(i api.Image) string { return string(i.Format) }},
	{Title: "size", Value: uploadedOf},
	{Title: "visibility", Value: func(i api.Image) string { return string(i.Visibility) }},
	{Title: "age", Value: func(i api.Image) string { return age(i.Created) }},
	{Title: "id", Value: func(i api.Image) string { return i.ID }},
}

// uploadedOf is the size of an image, and how much of it is there while it is not whole.
func uploadedOf(i api.Image) string {
	if i.Uploaded < i.Bytes {
		return size(i.Uploaded) + "/" + size(i.Bytes)
	}
	return size(i.Bytes)
}

var tenantColumns = []column[api.Tenant]{
	{Title: "name", Value: func(t api.Tenant) string { return t.Name }},
	{Title: "id", Value: func(t api.Tenant) string { return t.ID }},
	{Title: "subnet bits", Value: func(t api.Tenant) string { return strconv.Itoa(t.SubnetBits) }},
	{Title: "privileged containers", Value: func(t api.Tenant) string { return strconv.FormatBool(t.PrivilegedContainers) }},
	{Title: "created", Value: func(t api.Tenant) string { return clock(t.Created) }},
}

var poolColumns = []column[api.Pool]{
	{Title: "name", Value: func(p api.Pool) string { return p.Name }},
	{Title: "free", Value: func(p api.Pool) string { return strconv.Itoa(p.Free) }},
	{Title: "total", Value: func(p api.Pool) string { return strconv.Itoa(p.Total) }},
	{Title: "addresses", Value: func(p api.Pool) string { return join(p.Addresses) }},
	{Title: "id", Value: func(p api.Pool) string { return p.ID }},
}

var externalIPColumns = []column[api.ExternalIP]{
	{Title: "address", Value: func(e api.ExternalIP) string { return e.Address.String() }},
	{Title: "state", Value: func(e api.ExternalIP) string { return string(e.State) }},
	{Title: "instance", Value: func(e api.ExternalIP) string { return e.Instance }},
	{Title: "internal", Value: func(e api.ExternalIP) string { return e.Internal }},
	{Title: "pool", Value: func(e api.ExternalIP) string { return e.Pool }},
	{Title: "tenant", Value: func(e api.ExternalIP) string { return e.Tenant }},
	{Title: "reason", Value: func(e api.ExternalIP) string { return e.Reason }},
}

var cnciColumns = []column[api.CNCI]{
	{Title: "id", Value: func(c api.CNCI) string { return c.ID }},
	{Title: "state", Value: func(c api.CNCI) string { return string(c.State) }},
	{Title: "prefix", Value: func(c api.CNCI) string { return c.Prefix.String() }},
	{Title: "prefix6", Value: func(c api.CNCI) string { return c.Prefix6 }},
	{Title: "underlay", Value: func(c api.CNCI) string { return c.Underlay }},
	{Title: "tenant", Value: func(c api.CNCI) string { return c.Tenant }},
	{Title: "node", Value: func(c api.CNCI) string { return c.Node }},
	{Title: "age", Value: func(c api.CNCI) string { return age(c.Created) }},
	{Title: "reason", Value: func(c api.CNCI) string { return c.Reason }},
}

var quotaColumns = []column[api.QuotaItem]{
	{Title: "name", Value: func(q api.QuotaItem) string { return q.Name }},
	{Title: "used", Value: quotaUsed},
	{Title: "limit", Value: func(q api.QuotaItem) string { return q.Limit }},
}

var eventColumns = []column[api.Event]{
	{Title: "time", Value: func(e api.Event) string { return clock(e.Time) }},
	{Title: "severity", Value: func(e api.Event) string { return string(e.Severity) }},
	{Title: "reason", Value: func(e api.Event) string { return e.Reason }},
	{Title: "message", Value: func(e api.Event) string { return e.Message }},
}
