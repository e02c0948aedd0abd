package container_test

import (
	"syscall"
	"testing"

	"github.com/ciaocloud/ciao/cluster/driver/drivertest"
	"github.com/ciaocloud/ciao/require"
)

// TestConformance runs the suite on the machine's own engine.
func TestConformance(t *testing.T) {
	require.Docker(t)
	drivertest.Run(t, func(t *testing.T) drivertest.Harness { return newNode(t, "").harness() })
}

// TestConformanceLoss runs what takes the engine away, on an engine of its own.
func TestConformanceLoss(t *testing.T) {
	require.Docker(t)
	for name, signal := range map[string]syscall.Signal{"killed": syscall.SIGKILL, "in order": syscall.SIGTERM} {
		t.Run(name, func(t *testing.T) {
			engine := newPrivateEngine(t)
			drivertest.RunOnly(t, func(t *testing.T) drivertest.Harness {
				harness := newNode(t, engine.host).harness()
				harness.Freeze = engine.freeze
				harness.Interrupt = func(t *testing.T) {
					engine.end(t, signal)
					engine.begin(t)
				}
				return harness
			}, "Life", "Interrupt", "Freeze", "VolumesAfterCrash")
		})
	}
}
