package workload

import (
	"github.com/goccy/go-yaml/ast"

	"github.com/ciaocloud/ciao/ccloudvm"
)

// level is one file of a chain of inheritance, its spec parsed.
type level struct {
	source  Source
	spec    ccloudvm.Spec
	origins map[string]Position // where each field was written, by path
	config  document            // the cloud-config, not yet expanded
}

// parseLevel reads one file up to its cloud-config, whose template needs what the whole chain says.
func parseLevel(src Source, ws *Workspace) (*level, error) {
	specDoc, configDoc, err := split(src)
	if err != nil {
		return nil, err
	}
	l := &level{source: src, config: configDoc}
	if specDoc.empty {
		return l, nil
	}
	expanded, err := expand(specDoc, ws, nil)
	if err != nil {
		return nil, err
	}
	l.spec, l.origins, err = parseSpec(expanded)
	return l, err
}

// parseSpec decodes a spec document strictly and reports all its problems at once.
func parseSpec(doc rendered) (ccloudvm.Spec, map[string]Position, error) {
	var spec ccloudvm.Spec
	body, err := parseYAML(doc)
	if err != nil || body == nil {
		return spec, nil, err
	}
	d := &decoder{doc: doc, origins: map[string]Position{}}
	d.mapping(body, "", specFields(&spec))
	if len(d.problems) == 0 {
		d.problems = checkLists(spec, d.origins)
	}
	return spec, d.origins, d.problems.err()
}

func specFields(s *ccloudvm.Spec) map[string]field {
	return map[string]field{
		"base_image":        text(&s.BaseImage),
		"base_image_url":    text(&s.BaseImageURL),
		"base_image_digest": text(&s.BaseImageDigest),
		"base_image_name":   text(&s.BaseImageName),
		"workload":          text(&s.Workload),
		"inherits":          text(&s.Inherits),
		"needs_nested_vm":   boolean(&s.NeedsNestedVM),
		"bios":              text(&s.BIOS),
		"packages":          texts(&s.Packages),
		"images":            texts(&s.Images),
		"vm": func(d *decoder, n ast.Node, path string) {
			d.mapping(n, path, vmFields(&s.VM))
		},
	}
}

func vmFields(vm *ccloudvm.VM) map[string]field {
	return map[string]field{
		"mem_mib":  integer(&vm.MemMiB),
		"cpus":     integer(&vm.CPUs),
		"disk_gib": integer(&vm.DiskGiB),
		"qemuport": integer(&vm.QEMUPort),
		"host_ip":  text(&vm.HostIP),
		"ports": list(&vm.Ports, func(p *ccloudvm.Port) map[string]field {
			return map[string]field{"host": integer(&p.Host), "guest": integer(&p.Guest)}
		}),
		"mounts": list(&vm.Mounts, func(m *ccloudvm.Mount) map[string]field {
			return map[string]field{"tag": text(&m.Tag), "security_model": text(&m.SecurityModel), "path": text(&m.Path), "read_only": boolean(&m.ReadOnly)}
		}),
		"drives": list(&vm.Drives, func(v *ccloudvm.Drive) map[string]field {
			return map[string]field{"path": text(&v.Path), "format": text(&v.Format), "options": text(&v.Options)}
		}),
	}
}
