package controller

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ciaocloud/ciao/cluster"
)

// TestOrderOfNamedVolumes: those of the workload keep their place among all of its volumes, the first of which a VM may boot from; those of
// the request come behind.
func TestOrderOfNamedVolumes(t *testing.T) {
	got := namedVolumes(
		[]cluster.VolumeSpec{{SizeMiB: 1}, {Volume: "data", ReadOnly: true}},
		[]VolumeAttachment{{Volume: "more"}, {Volume: "most"}})
	want := []VolumeAttachment{
		{"data", cluster.VolumePlace{Number: 1, ReadOnly: true}},
		{"more", cluster.VolumePlace{Number: 2}},
		{"most", cluster.VolumePlace{Number: 3}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
