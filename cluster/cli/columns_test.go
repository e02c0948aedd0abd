package cli

import (
	"strings"
	"testing"

	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/terminal"
)

// TestUsageThatIsUnknown: a first sample has nothing to compare the processor with.
func TestUsageThatIsUnknown(t *testing.T) {
	var table strings.Builder
	unknown := []api.InstanceUsage{{Name: "web", VCPUs: 0.5, VCPUsUsed: -1, MemoryMiB: 64, MemoryMiBUsed: -1, Pids: -1}}
	if err := terminal.List(&table, terminal.Output{Format: "table"}, unknown, usageColumns); err != nil {
		t.Fatal(err)
	}
	if row := strings.Fields(strings.Split(table.String(), "\n")[1]); row[1] != "?/0.5" || row[2] != "?/64" || row[4] != "?" {
		t.Errorf("the row is %q", row)
	}
}
