package cli

import (
	"strings"
	"testing"

	"github.com/ciaocloud/ciao/cluster/simulation"
)

func TestSimulationWithFailuresFails(t *testing.T) {
	if err := simulated(simulation.Report{Active: 7}); err != nil {
		t.Errorf("all are active: %v", err)
	}
	if err := simulated(simulation.Report{Active: 7, Failed: 2}); err == nil || !strings.Contains(err.Error(), "2 of 9 instances") {
		t.Errorf("two have failed: %v", err)
	}
}
