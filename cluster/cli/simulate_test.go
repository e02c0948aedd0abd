package cli_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/ciaocloud/ciao/cluster/simulation"
)

func TestSimulateNeedsNoCluster(t *testing.T) {
	nobody(t)
	out := works(t, "simulate", "--nodes", "2", "--instances", "3", "--tenants", "2", "--start-delay", "1ms-2ms", "--memory", "-o", "json")
	var report simulation.Report
	if err := json.Unmarshal([]byte(out), &report); err != nil || report.Active != 3 || report.Cost.Sent["Place"] == 0 {
		t.Errorf("%+v, %v, from %s", report, err, out)
	}
	if out := works(t, "simulate", "--memory"); !strings.Contains(out, "placed ") || !strings.Contains(out, " Start") {
		t.Errorf("table: %s", out)
	}
}

func TestSimulateRefuses(t *testing.T) {
	nobody(t)
	for _, test := range []struct{ args, says string }{
		{"simulate --nodes -1", "nodes: -1 must be at least 1"},
		{"simulate --nodes 0", "nodes: 0 must be at least 1"},
		{"simulate --tenants 0", "tenants: 0 must be at least 1"},
		{"simulate --start-delay soon", "write a duration such as 1ms"},
		{"simulate --failures 1", "less than 1"},
		{"simulate --disconnect -1s", "disconnect: -1s must be above 0"},
		{"simulate --instances 3 --tenants 4", "for each of the 4 tenants"},
		{"simulate more", "more"},
	} {
		t.Run(test.args, func(t *testing.T) { refuses(t, 2, strings.Fields(test.args), test.says) })
	}
}
