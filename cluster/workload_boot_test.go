package cluster

import (
	"strings"
	"testing"
)

// TestBootsFromVolume: a VM without an image needs a first volume that it can write to.
func TestBootsFromVolume(t *testing.T) {
	for name, test := range map[string]struct {
		image   string
		volumes []VolumeSpec
		boots   bool
		says    string // empty: allowed
	}{
		"an image":              {"tiny", nil, false, ""},
		"an image and a volume": {"tiny", []VolumeSpec{{SizeMiB: 1, ReadOnly: true}}, false, ""},
		"a volume":              {"", []VolumeSpec{{Volume: "root"}, {SizeMiB: 1, ReadOnly: true}}, true, ""},
		"nothing":               {"", nil, true, "image: a virtual machine needs"},
		"a volume to read only": {"", []VolumeSpec{{Volume: "root", ReadOnly: true}}, true, "volumes[0].read_only"},
		"the name of no image":  {"no image", []VolumeSpec{{SizeMiB: 1}}, false, "image: \"no image\" is not"},
	} {
		spec := WorkloadSpec{Kind: KindVM, Image: test.image, Volumes: test.volumes, Requirements: Requirements{MemoryMiB: 128}}.WithDefaults()
		var problems Problems
		spec.validateVM(&problems)
		err := problems.Err()
		if spec.BootsFromVolume() != test.boots || (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: boots %v, %v; want %v, %q", name, spec.BootsFromVolume(), err, test.boots, test.says)
		}
	}
	if (WorkloadSpec{Kind: KindProcess}).BootsFromVolume() {
		t.Error("a process boots")
	}
}
