package simulation_test

import (
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster/simulation"
)

func TestSmallCluster(t *testing.T) {
	report, err := simulation.Run(t.Context(), simulation.Config{
		Nodes: 2, Instances: 4, Memory: true, Patience: time.Minute, Directory: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if report.Active != 4 || report.Failed != 0 || report.Total <= 0 {
		t.Errorf("report is %+v", report)
	}
}
