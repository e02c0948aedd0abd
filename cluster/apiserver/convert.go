package apiserver

import (
	"math"
	"net/netip"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/controller"
)

func (s *Server) instanceOf(i cluster.Instance, workload string) api.Instance {
	cases := s.config.UseCases
	return api.Instance{
		ID: i.ID, Name: i.Name, Tenant: i.Tenant, Workload: workload, WorkloadID: i.Workload, Kind: i.Kind, State: i.State,
		Desired: i.Desired, Node: i.Node, MAC: i.MAC, Addresses: list(i.Addresses), ExternalIPs: list(cases.ExternalAddresses(i.ID)), SSH: endpointOf(cases.Login(i), i.Spec.LoginUser()), Ports: portsOf(cases.PublishedPorts(i)), Subnet: i.Subnet, Labels: dictionary(i.Labels),
		Created: i.Created, Changed: i.Changed, Reason: i.Reason, Explanation: i.Explanation, Refusals: list(i.Refusals), ExitCode: i.ExitCode,
		Replaces: i.Replaces, Generation: i.Generation, VCPUs: vcpus(i.Spec.Requirements.VCPUs), MemoryMiB: i.Spec.Requirements.MemoryMiB, DiskMiB: i.Spec.Requirements.DiskMiB,
	}
}

func endpointOf(at netip.AddrPort, user string) *api.Endpoint {
	if !at.IsValid() {
		return nil
	}
	return &api.Endpoint{Host: at.Addr().String(), Port: int(at.Port()), User: user}
}

func portsOf(published []controller.PublishedPort) []api.PublishedPort {
	ports := make([]api.PublishedPort, 0, len(published))
	for _, p := range published {
		ports = append(ports, api.PublishedPort{Host: p.At.Addr().String(), Published: int(p.At.Port()), Port: p.Port, Protocol: p.Protocol})
	}
	return ports
}

func usageOf(u controller.InstanceUsage) api.InstanceUsage {
	asked := u.Instance.Spec.Requirements
	return api.InstanceUsage{
		ID: u.Instance.ID, Name: u.Instance.Name, Tenant: u.Instance.Tenant, Node: u.Instance.Node, VCPUs: vcpus(asked.VCPUs), VCPUsUsed: u.Sample.CPU,
		MemoryMiB: asked.MemoryMiB, MemoryMiBUsed: u.Sample.MemoryMiB, DiskMiBUsed: u.Sample.DiskMiB, Pids: u.Sample.Pids, Time: u.Time,
	}
}

func workloadOf(w cluster.Workload) api.Workload {
	return api.Workload{
		ID: w.ID, Name: w.Name, Tenant: w.Tenant, Visibility: w.Visibility, Kind: w.Spec.Kind, Description: w.Spec.Description,
		Image: w.Spec.Image, Pull: w.Spec.Pull, CloudInit: w.Spec.CloudInit, SSHKeys: list(w.Spec.SSHKeys), Firmware: w.Spec.Firmware,
		Command: list(w.Spec.Command), Environment: dictionary(w.Spec.Environment), User: w.Spec.User, Directory: w.Spec.Directory,
		Requirements: api.Requirements{
			VCPUs: vcpus(w.Spec.Requirements.VCPUs), MemoryMiB: w.Spec.Requirements.MemoryMiB, DiskMiB: w.Spec.Requirements.DiskMiB, Pids: w.Spec.Requirements.Pids,
			Node: w.Spec.Requirements.Node, Hostname: w.Spec.Requirements.Hostname, Labels: w.Spec.Requirements.Labels,
			Together: w.Spec.Requirements.Together, Spread: w.Spec.Requirements.Spread,
		},
		Ports: api.PortSpecs(w.Spec.Ports), Volumes: api.VolumeSpecs(w.Spec.Volumes), Privileged: w.Spec.Privileged, Restart: w.Spec.Restart, Drain: w.Spec.Drain, StopGrace: w.Spec.StopGrace.String(), Created: w.Created,
	}
}

// specOf reads the recipe of a request; the controller fills in the defaults and validates.
func specOf(w api.CreateWorkload) (cluster.WorkloadSpec, error) {
	var problems cluster.Problems
	spec := cluster.WorkloadSpec{
		Kind: w.Kind, Description: w.Description, Image: w.Image, Pull: w.Pull, CloudInit: w.CloudInit, SSHKeys: w.SSHKeys, Firmware: w.Firmware,
		Command: w.Command, Environment: w.Environment, User: w.User, Directory: w.Directory,
		Requirements: cluster.Requirements{
			MemoryMiB: w.Requirements.MemoryMiB, DiskMiB: w.Requirements.DiskMiB, Pids: w.Requirements.Pids, Node: w.Requirements.Node, Hostname: w.Requirements.Hostname,
			Labels: w.Requirements.Labels, Together: w.Requirements.Together, Spread: w.Requirements.Spread,
		},
		Privileged: w.Privileged, Restart: w.Restart, Drain: w.Drain,
	}
	for _, p := range w.Ports {
		spec.Ports = append(spec.Ports, cluster.PortSpec(p))
	}
	for _, v := range w.Volumes {
		spec.Volumes = append(spec.Volumes, cluster.VolumeSpec(v))
	}
	milli := math.Round(w.Requirements.VCPUs * float64(cluster.VCPU))
	if math.IsNaN(milli) || milli < 0 || milli > float64(cluster.MaxVCPUs*cluster.VCPU) {
		problems.Add("requirements.vcpus", "must be from 0.01 to %d", cluster.MaxVCPUs)
	} else {
		spec.Requirements.VCPUs = cluster.CPU(milli)
	}
	if w.StopGrace != "" {
		if err := spec.StopGrace.UnmarshalText([]byte(w.StopGrace)); err != nil {
			problems.Add("stop_grace", "%s", err)
		}
	}
	return spec, problems.Err()
}

func tenantOf(t cluster.Tenant) api.Tenant {
	return api.Tenant{ID: t.ID, Name: t.Name, SubnetBits: t.SubnetBits, PrivilegedContainers: t.Permissions.PrivilegedContainers, Created: t.Created}
}

func quotaOf(tenant string, quota cluster.Quota, used cluster.Usage) api.Quota {
	return api.Quota{Tenant: tenant, Items: []api.QuotaItem{
		{Name: api.QuotaInstances, Limit: quota.Instances.String(), Used: float64(used.Instances)},
		{Name: api.QuotaVCPUs, Limit: quota.VCPUs.String(), Used: vcpus(used.CPU)},
		{Name: api.QuotaMemoryMiB, Limit: quota.MemoryMiB.String(), Used: float64(used.MemoryMiB)},
		{Name: api.QuotaDiskMiB, Limit: quota.DiskMiB.String(), Used: float64(used.DiskMiB)},
		{Name: api.QuotaImages, Limit: quota.Images.String(), Used: float64(used.Images)},
		{Name: api.QuotaExternalIPs, Limit: quota.ExternalIPs.String(), Used: float64(used.ExternalIPs)},
		{Name: api.QuotaVolumes, Limit: quota.Volumes.String(), Used: float64(used.Volumes)},
		{Name: api.QuotaInstanceVCPUs, Limit: quota.InstanceVCPUs.String(), Each: true},
		{Name: api.QuotaInstanceMemoryMiB, Limit: quota.InstanceMemoryMiB.String(), Each: true},
		{Name: api.QuotaInstanceDiskMiB, Limit: quota.InstanceDiskMiB.String(), Each: true},
	}}
}

func (s *Server) nodeOf(n cluster.Node) api.Node {
	load := -1.0
	if sample, found := s.config.UseCases.NodeStatistics(n.ID); found {
		load = sample.Load
	}
	return api.Node{
		ID: n.ID, Hostname: n.Hostname, Roles: list(n.Roles), State: n.State, Reason: n.Reason, Kinds: list(n.Kinds), Labels: dictionary(n.Labels),
		VCPUs: vcpus(n.Capacity.CPU), VCPUsLimit: vcpus(n.Limit.CPU), VCPUsAllocated: vcpus(n.Allocated.CPU),
		MemoryMiB: n.Capacity.MemoryMiB, MemoryMiBLimit: n.Limit.MemoryMiB, MemoryMiBAllocated: n.Allocated.MemoryMiB,
		DiskMiB: n.Capacity.DiskMiB, DiskMiBAllocated: n.Allocated.DiskMiB, Load: load,
		Evacuated: n.Evacuated, Instances: n.Instances, Running: n.Running, Underlay: list(n.Underlay), Version: n.Version, Staying: list(n.Staying), Seen: n.Seen,
	}
}

func cnciOf(c controller.CNCI) api.CNCI {
	cnci := api.CNCI{
		ID: c.ID, Tenant: c.Tenant, Subnet: c.Subnet, Prefix: c.Prefix, State: c.State, Node: c.Node, Underlay: text(c.Underlay),
		Reason: c.Reason, Created: c.Created,
	}
	if c.Prefix6.IsValid() {
		cnci.Prefix6 = c.Prefix6.String()
	}
	return cnci
}

func vcpus(c cluster.CPU) float64 { return float64(c) / float64(cluster.VCPU) }

func text(address netip.Addr) string {
	if !address.IsValid() {
		return ""
	}
	return address.String()
}

// list is never null on the wire.
func list[T any](items []T) []T {
	if items == nil {
		return []T{}
	}
	return items
}

// dictionary is never null on the wire.
func dictionary(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}
