package config

import (
	"fmt"
	"io"

	"github.com/ciaocloud/ciao/cluster"
)

// Manifest is a file with all that a tenant wants there to be.
type Manifest struct {
	Workloads []Workload
	Instances []Instances
}

// Instances are some of one workload. One has the name itself, several have NAME-1, NAME-2, ….
type Instances struct {
	Name     string            `yaml:"name"`
	Workload string            `yaml:"workload"` // name
	Count    int               `yaml:"count"`    // 1 when left out
	Labels   map[string]string `yaml:"labels"`
}

// Names are those that the instances have.
func (i Instances) Names() []string {
	if i.Count == 1 {
		return []string{i.Name}
	}
	names := make([]string, i.Count)
	for n := range names {
		names[n] = fmt.Sprintf("%s-%d", i.Name, n+1)
	}
	return names
}

type manifestFile struct {
	Workloads []workloadFile `yaml:"workloads"`
	Instances []Instances    `yaml:"instances"`
}

// LoadManifest reads a manifest.
func LoadManifest(name string) (Manifest, error) {
	data, err := readFile(name)
	if err != nil {
		return Manifest{}, err
	}
	return ParseManifest(name, data)
}

// ReadManifest reads a manifest from a stream; name is used in messages.
func ReadManifest(name string, r io.Reader) (Manifest, error) {
	data, err := readAll(name, r)
	if err != nil {
		return Manifest{}, err
	}
	return ParseManifest(name, data)
}

// ParseManifest reads a manifest from memory; name is used in messages.
func ParseManifest(name string, data []byte) (Manifest, error) {
	var file manifestFile
	if err := decode(name, data, &file); err != nil {
		return Manifest{}, err
	}
	var m Manifest
	for _, w := range file.Workloads {
		m.Workloads = append(m.Workloads, w.workload())
	}
	for _, i := range file.Instances {
		setDefault(&i.Count, 1)
		m.Instances = append(m.Instances, i)
	}
	if err := m.validate(); err != nil {
		return Manifest{}, locate(name, data, err)
	}
	return m, nil
}

func (m Manifest) validate() error {
	var problems cluster.Problems
	workloads := map[string]bool{}
	for n, w := range m.Workloads {
		at := fmt.Sprintf("workloads[%d].", n)
		own, _ := w.validate().(cluster.Problems)
		for _, p := range own {
			problems.Add(at+p.Path, "%s", p.Problem)
		}
		if workloads[w.Name] {
			problems.Add(at+"name", "%q is the name of another one in this file", w.Name)
		}
		if w.Visibility == cluster.Public {
			problems.Add(at+"visibility", "a file like this is one tenant's; make public workloads with `ciao create workload`")
		}
		workloads[w.Name] = true
	}
	names := map[string]bool{}
	for n, i := range m.Instances {
		i.validate(fmt.Sprintf("instances[%d].", n), names, &problems)
	}
	return problems.Err()
}

func (i Instances) validate(at string, taken map[string]bool, problems *cluster.Problems) {
	if i.Workload == "" {
		problems.Add(at+"workload", "is missing: name one of this file, or one that is there")
	}
	if i.Count < 1 || i.Count > cluster.MaxBatch {
		problems.Add(at+"count", "must be from 1 to %d", cluster.MaxBatch)
		return
	}
	for _, name := range i.Names() {
		switch {
		case !cluster.ValidName(name):
			problems.Add(at+"name", "%q is not a name; use lower-case letters, digits and hyphens, 63 at most", name)
			return
		case taken[name]:
			problems.Add(at+"name", "%q is the name of another instance in this file", name)
			return
		}
		taken[name] = true
	}
}
