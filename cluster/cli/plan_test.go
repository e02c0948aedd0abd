package cli

import (
	"errors"
	"strings"
	"testing"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/config"
)

// TestPlanDoesNotCountWhatGoes: an instance that is there still, and will not be soon, is neither unchanged nor can it be made.
func TestPlanDoesNotCountWhatGoes(t *testing.T) {
	manifest := config.Manifest{Instances: []config.Instances{{Name: "back", Workload: "web", Count: 1}}}
	there := api.Instance{Name: "back", Workload: "web", State: cluster.Stopped}
	if _, err := planOf(manifest, nil, []api.Instance{there}); err != nil {
		t.Fatal(err)
	}
	there.State = cluster.Deleting
	_, err := planOf(manifest, nil, []api.Instance{there})
	if !errors.Is(err, cluster.ErrConflict) || !strings.Contains(err.Error(), "instance back is being deleted") {
		t.Errorf("%v, want a conflict", err)
	}
}
