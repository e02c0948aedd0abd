package workload

import (
	"slices"

	"github.com/ciaocloud/ciao/ccloudvm"
)

// inherit is the spec of a child whose parent (already complete) is given: what the child says wins.
func inherit(parent, child ccloudvm.Spec) ccloudvm.Spec {
	merged := ccloudvm.Spec{
		BaseImage:       child.BaseImage,
		BaseImageURL:    child.BaseImageURL,
		BaseImageDigest: child.BaseImageDigest,
		BaseImageName:   said(child.BaseImageName, parent.BaseImageName),
		Workload:        said(child.Workload, parent.Workload),
		Inherits:        child.Inherits,
		NeedsNestedVM:   child.NeedsNestedVM || parent.NeedsNestedVM,
		BIOS:            said(child.BIOS, parent.BIOS),
		Packages:        union(parent.Packages, child.Packages),
		Images:          union(parent.Images, child.Images),
		VM:              inheritVM(parent.VM, child.VM),
	}
	if child.BaseImage == "" && child.BaseImageURL == "" { // one image: its name, address and digest belong together
		merged.BaseImage, merged.BaseImageURL = parent.BaseImage, parent.BaseImageURL
		merged.BaseImageDigest = said(child.BaseImageDigest, parent.BaseImageDigest)
	}
	return merged
}

func inheritVM(parent, child ccloudvm.VM) ccloudvm.VM {
	return ccloudvm.VM{
		MemMiB:   said(child.MemMiB, parent.MemMiB),
		CPUs:     said(child.CPUs, parent.CPUs),
		DiskGiB:  said(child.DiskGiB, parent.DiskGiB),
		QEMUPort: said(child.QEMUPort, parent.QEMUPort),
		HostIP:   said(child.HostIP, parent.HostIP),
		Ports:    MergePorts(parent.Ports, child.Ports),
		Mounts:   MergeMounts(parent.Mounts, child.Mounts),
		Drives:   MergeDrives(parent.Drives, child.Drives),
	}
}

// said is the first value that is not the zero value.
func said[T comparable](child, parent T) T {
	var zero T
	if child != zero {
		return child
	}
	return parent
}

// MergePorts merges forwardings by guest port: an entry of over takes the place of the entry of base with its key, others follow.
func MergePorts(base, over []ccloudvm.Port) []ccloudvm.Port {
	return keyed(base, over, func(p ccloudvm.Port) int { return p.Guest })
}

// MergeMounts merges mounts by tag.
func MergeMounts(base, over []ccloudvm.Mount) []ccloudvm.Mount {
	return keyed(base, over, func(m ccloudvm.Mount) string { return m.Tag })
}

// MergeDrives merges drives by path.
func MergeDrives(base, over []ccloudvm.Drive) []ccloudvm.Drive {
	return keyed(base, over, func(d ccloudvm.Drive) string { return d.Path })
}

func keyed[T any, K comparable](base, over []T, key func(T) K) []T {
	merged := slices.Clone(base)
	for _, item := range over {
		i := slices.IndexFunc(merged, func(m T) bool { return key(m) == key(item) })
		if i < 0 {
			merged = append(merged, item)
			continue
		}
		merged[i] = item
	}
	return merged
}

// union is base followed by what is only in more.
func union(base, more []string) []string {
	merged := slices.Clone(base)
	for _, item := range more {
		if !slices.Contains(merged, item) {
			merged = append(merged, item)
		}
	}
	return merged
}

// complete fills what no file of the chain said.
func complete(s ccloudvm.Spec) ccloudvm.Spec {
	s.VM.MemMiB = said(s.VM.MemMiB, ccloudvm.DefaultMemMiB)
	s.VM.CPUs = said(s.VM.CPUs, ccloudvm.DefaultCPUs)
	s.VM.DiskGiB = said(s.VM.DiskGiB, ccloudvm.DefaultDiskGiB)
	s.VM.Ports = MergePorts([]ccloudvm.Port{{Host: ccloudvm.DefaultSSHHostPort, Guest: ccloudvm.SSHPort}}, s.VM.Ports)
	if s.BaseImage == "" && s.BaseImageURL == "" {
		s.BaseImage = DefaultBaseImage
	}
	s.BaseImageName = said(s.BaseImageName, s.BaseImage)
	return s
}

// DefaultBaseImage is the image of a workload whose chain names none.
const DefaultBaseImage = "debian-12"
