package controller

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
)

// Requests go into as few frames as they fit into, also when each wants as many and as long labels as a workload may.
func TestPlacesFitIntoFrames(t *testing.T) {
	long := map[string]string{}
	for i := range cluster.MaxLabels {
		long[fmt.Sprintf("%0*d", cluster.MaxLabelKey, i)] = strings.Repeat("v", cluster.MaxLabelValue)
	}
	for name, test := range map[string]struct {
		labels map[string]string
		frames int
	}{"none": {nil, 2}, "a short one": {map[string]string{"zone": "a"}, 2}, "long ones": {long, 86}} {
		r := &reconciler{}
		r.orderPlaces(slices.Repeat([]payload.PlacementRequest{{Instance: strings.Repeat("i", 36), Labels: test.labels}}, 1024))
		if len(r.orders) != test.frames {
			t.Errorf("%s: %d frames, want %d", name, len(r.orders), test.frames)
		}
		sent := 0
		for _, o := range r.orders {
			data, err := payload.Encode(o.body)
			if err != nil || len(data) > 1<<20 {
				t.Errorf("%s: a frame of %d bytes, %v", name, len(data), err)
			}
			sent += len(o.body.(payload.Place).Requests)
		}
		if sent != 1024 {
			t.Errorf("%s: %d requests are sent", name, sent)
		}
	}
}
