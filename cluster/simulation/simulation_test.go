package simulation_test

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/simulation"
)

// A few nodes and tenants, with the store in etcd and in memory: everything becomes active and nothing is left behind.
func TestSmallCluster(t *testing.T) {
	for name, memory := range map[string]bool{"etcd": false, "memory": true} {
		t.Run(name, func(t *testing.T) {
			directory := t.TempDir()
			report, err := simulation.Run(t.Context(), simulation.Config{
				Nodes: 3, Instances: 11, Tenants: 2, Memory: memory, Patience: time.Minute, Directory: directory,
			})
			if err != nil {
				t.Fatal(err)
			}
			if report.Active != 11 || report.Failed != 0 || report.Total <= 0 || report.Whole.P99 > report.Total {
				t.Errorf("report is %+v", report)
			}
			if sent := report.Cost.Sent["Start"]; sent < 13 { // and two CNCIs
				t.Errorf("%d starts were sent", sent)
			}
			if left, err := os.ReadDir(directory); err != nil || len(left) > 0 {
				t.Errorf("left: %v, %v", left, err)
			}
		})
	}
}

// Starts that fail are made on other nodes, and delays show in the phase that they are in.
func TestFailuresAndDelays(t *testing.T) {
	report, err := simulation.Run(t.Context(), simulation.Config{
		Nodes: 8, Instances: 40, Tenants: 1, Failures: 0.2, Seed: 1, Memory: true, Patience: time.Minute, Directory: t.TempDir(),
		StartDelay: simulation.Delay{Min: 20 * time.Millisecond, Max: 40 * time.Millisecond},
	})
	if err != nil {
		t.Fatal(err)
	}
	if report.Active != 40 || report.Refused == 0 {
		t.Errorf("report is %+v", report)
	}
	if report.Whole.P50 < 0.02 {
		t.Errorf("instances that take 20 ms to start were active after %s", report.Whole.P50)
	}
}

// All nodes lose their connections while instances start: all come back, and everything becomes active.
func TestDisconnect(t *testing.T) {
	report, err := simulation.Run(t.Context(), simulation.Config{
		Nodes: 8, Instances: 40, Tenants: 2, Memory: true, Patience: time.Minute, Directory: t.TempDir(),
		StartDelay: simulation.Delay{Min: 200 * time.Millisecond}, Disconnect: 100 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	if report.Active != 40 || report.Failed != 0 || report.Storm == nil {
		t.Fatalf("report is %+v", report)
	}
	if storm := *report.Storm; storm.Cut < 9 || storm.Dials < uint64(storm.Cut) || storm.Handshakes < uint64(storm.Cut) || storm.Back <= 0 {
		t.Errorf("the storm was %+v", storm)
	}
}

func TestUnfinished(t *testing.T) {
	_, err := simulation.Run(t.Context(), simulation.Config{
		Nodes: 2, Instances: 4, Tenants: 1, Memory: true, Patience: 200 * time.Millisecond, Directory: t.TempDir(), StartDelay: simulation.Delay{Min: time.Hour},
	})
	if !errors.Is(err, cluster.ErrTimeout) {
		t.Errorf("instances that take an hour: %v", err)
	}
}

func TestBadConfig(t *testing.T) {
	for name, config := range map[string]simulation.Config{
		"negative nodes":         {Nodes: -1, Instances: 4, Tenants: 1},
		"no nodes":               {Instances: 4, Tenants: 1},
		"no tenants":             {Nodes: 2, Instances: 4},
		"too many nodes":         {Nodes: 10_000_000, Instances: 4, Tenants: 1},
		"fewer than tenants":     {Nodes: 2, Instances: 3, Tenants: 4},
		"too many of one tenant": {Nodes: 2, Instances: 10_001, Tenants: 1},
		"all starts fail":        {Nodes: 2, Instances: 4, Tenants: 1, Failures: 1},
		"time goes back":         {Nodes: 2, Instances: 4, Tenants: 1, TimeScale: -1},
		"cut before it begins":   {Nodes: 2, Instances: 4, Tenants: 1, Disconnect: -1},
	} {
		if _, err := simulation.Run(t.Context(), config); !errors.Is(err, cluster.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDelay(t *testing.T) {
	for text, want := range map[string]string{"1ms": "1ms", "1ms-1s": "1ms-1s", "0s": "0s", "": "", "1": "", "2s-1s": "", "-1s": "", "1ms-": ""} {
		var delay simulation.Delay
		err := delay.UnmarshalText([]byte(text))
		if want == "" && !errors.Is(err, cluster.ErrInvalid) || want != "" && (err != nil || delay.String() != want) {
			t.Errorf("%q is read as %q, %v", text, delay, err)
		}
	}
}
