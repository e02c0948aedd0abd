package config

import (
	"io"

	"github.com/ciaocloud/ciao/cluster"
)

// Workload is a workload file: the recipe of instances as a person writes it.
type Workload struct {
	Name       string
	Visibility cluster.Visibility
	Spec       cluster.WorkloadSpec
}

// workloadFile is the file's form: name and visibility beside the fields of the spec.
type workloadFile struct {
	Name         string                                       `yaml:"name"`
	Visibility   cluster.Visibility                           `yaml:"visibility"`
	Kind         cluster.Kind                                 `yaml:"kind"`
	Description  string                                       `yaml:"description"`
	Image        string                                       `yaml:"image"`
	Pull         cluster.PullPolicy                           `yaml:"pull"`
	CloudInit    string                                       `yaml:"cloud_init"`
	SSHKeys      []string                                     `yaml:"ssh_keys"`
	Firmware     cluster.Firmware                             `yaml:"firmware"`
	Command      []string                                     `yaml:"command"`
	Environment  map[string]string                            `yaml:"environment"`
	User         string                                       `yaml:"user"`
	Directory    string                                       `yaml:"directory"`
	Requirements workloadRequirements                         `yaml:"requirements"`
	Privileged   bool                                         `yaml:"privileged"`
	Restart      cluster.RestartPolicy                        `yaml:"restart"`
	Drain        cluster.DrainOrder                           `yaml:"drain"`
	Ports        []workloadPort                               `yaml:"ports"`
	Volumes      []workloadVolume                             `yaml:"volumes"`
	StopGrace    located[cluster.Duration, *cluster.Duration] `yaml:"stop_grace"`
}

type workloadPort struct {
	Port      int                 `yaml:"port"`
	Protocol  cluster.Protocol    `yaml:"protocol"`
	Address   cluster.PortAddress `yaml:"address"`
	Published int                 `yaml:"published"`
}

type workloadVolume struct {
	Volume    string          `yaml:"volume"`
	SizeMiB   int64           `yaml:"size_mib"`
	Image     string          `yaml:"image"`
	Target    string          `yaml:"target"`
	ReadOnly  bool            `yaml:"read_only"`
	Ephemeral bool            `yaml:"ephemeral"`
	Storage   cluster.Storage `yaml:"storage"`
}

type workloadRequirements struct {
	VCPUs     located[cluster.CPU, *cluster.CPU] `yaml:"vcpus"`
	MemoryMiB int64                              `yaml:"memory_mib"`
	DiskMiB   int64                              `yaml:"disk_mib"`
	Pids      int64                              `yaml:"pids"`
	Node      string                             `yaml:"node"`
	Hostname  string                             `yaml:"hostname"`
	Labels    map[string]string                  `yaml:"labels"`
	Together  string                             `yaml:"together"`
	Spread    string                             `yaml:"spread"`
}

// LoadWorkload reads a workload file.
func LoadWorkload(name string) (Workload, error) {
	data, err := readFile(name)
	if err != nil {
		return Workload{}, err
	}
	return ParseWorkload(name, data)
}

// ReadWorkload reads a workload file from a stream; name is used in messages.
func ReadWorkload(name string, r io.Reader) (Workload, error) {
	data, err := readAll(name, r)
	if err != nil {
		return Workload{}, err
	}
	return ParseWorkload(name, data)
}

// ParseWorkload reads a workload file from memory; name is used in messages.
func ParseWorkload(name string, data []byte) (Workload, error) {
	var file workloadFile
	if err := decode(name, data, &file); err != nil {
		return Workload{}, err
	}
	workload := file.workload()
	if err := workload.validate(); err != nil {
		return Workload{}, locate(name, data, err)
	}
	return workload, nil
}

func (f workloadFile) workload() Workload {
	visibility := f.Visibility
	if visibility == "" {
		visibility = cluster.Private
	}
	return Workload{Name: f.Name, Visibility: visibility, Spec: cluster.WorkloadSpec{
		Kind: f.Kind, Description: f.Description, Image: f.Image, Pull: f.Pull,
		CloudInit: f.CloudInit, SSHKeys: f.SSHKeys, Firmware: f.Firmware, Command: f.Command,
		Environment: f.Environment, User: f.User, Directory: f.Directory, Privileged: f.Privileged, Restart: f.Restart, Drain: f.Drain, StopGrace: f.StopGrace.value,
		Requirements: cluster.Requirements{
			VCPUs: f.Requirements.VCPUs.value, MemoryMiB: f.Requirements.MemoryMiB, DiskMiB: f.Requirements.DiskMiB, Pids: f.Requirements.Pids,
			Node: f.Requirements.Node, Hostname: f.Requirements.Hostname, Labels: f.Requirements.Labels,
			Together: f.Requirements.Together, Spread: f.Requirements.Spread,
		},
		Ports:   f.ports(),
		Volumes: f.volumes(),
	}.WithDefaults()}
}

func (f workloadFile) ports() (all []cluster.PortSpec) {
	for _, p := range f.Ports {
		all = append(all, cluster.PortSpec(p))
	}
	return all
}

func (f workloadFile) volumes() (all []cluster.VolumeSpec) {
	for _, v := range f.Volumes {
		all = append(all, cluster.VolumeSpec(v))
	}
	return all
}

func (w Workload) validate() error {
	var problems cluster.Problems
	if !cluster.ValidName(w.Name) {
		problems.Add("name", "%q is not a name; use lower-case letters, digits and hyphens", w.Name)
	}
	if w.Visibility != cluster.Public && w.Visibility != cluster.Private {
		problems.Add("visibility", "%q is not a visibility; use private or public", w.Visibility)
	}
	if err, ok := w.Spec.Validate().(cluster.Problems); ok {
		problems = append(problems, err...)
	}
	return problems.Err()
}
