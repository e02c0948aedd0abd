package api

import "github.com/ciaocloud/ciao/cluster"

// NewWorkload is the request that creates a recipe.
func NewWorkload(name string, visibility cluster.Visibility, spec cluster.WorkloadSpec) CreateWorkload {
	return CreateWorkload{
		Name: name, Visibility: visibility, Kind: spec.Kind, Description: spec.Description, Image: spec.Image, Pull: spec.Pull,
		CloudInit: spec.CloudInit, SSHKeys: spec.SSHKeys, Firmware: spec.Firmware, Command: spec.Command, Environment: spec.Environment,
		User: spec.User, Directory: spec.Directory, Privileged: spec.Privileged, Restart: spec.Restart, Drain: spec.Drain, StopGrace: spec.StopGrace.String(),
		Requirements: Requirements{
			VCPUs: float64(spec.Requirements.VCPUs) / float64(cluster.VCPU), MemoryMiB: spec.Requirements.MemoryMiB,
			DiskMiB: spec.Requirements.DiskMiB, Pids: spec.Requirements.Pids, Node: spec.Requirements.Node, Hostname: spec.Requirements.Hostname,
			Labels: spec.Requirements.Labels, Together: spec.Requirements.Together, Spread: spec.Requirements.Spread,
		},
		Ports: PortSpecs(spec.Ports), Volumes: VolumeSpecs(spec.Volumes),
	}
}

// PortSpecs are the published ports of a recipe on the wire.
func PortSpecs(specs []cluster.PortSpec) []PortSpec {
	all := make([]PortSpec, len(specs))
	for i, p := range specs {
		all[i] = PortSpec(p)
	}
	return all
}

// VolumeSpecs are the volumes of a recipe on the wire.
func VolumeSpecs(specs []cluster.VolumeSpec) []VolumeSpec {
	all := make([]VolumeSpec, len(specs))
	for i, v := range specs {
		all[i] = VolumeSpec(v)
	}
	return all
}
