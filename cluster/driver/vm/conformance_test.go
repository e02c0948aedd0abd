package vm

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"

	"github.com/ciaocloud/ciao/ccloudvm/vmtest"
	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/driver/drivertest"
	"github.com/ciaocloud/ciao/require"
)

// noTaps is for machines without a network.
type noTaps struct{}

func (noTaps) OpenTap(_ context.Context, name string) (*os.File, error) {
	return nil, fmt.Errorf("%w: there is no tap %s", cluster.ErrUnavailable, name)
}

// bench is a driver with boot sectors for images: it gives an instance the image that its recipe names.
type bench struct {
	*Driver
	images string
	mark   string
}

func (b bench) Create(ctx context.Context, instance driver.Instance, progress func(step, message string)) error {
	return b.Driver.Create(ctx, b.imaged(instance), progress)
}

// imaged gives an instance its image, if there is that.
func (b bench) imaged(instance driver.Instance) driver.Instance {
	path := filepath.Join(b.images, instance.Spec.Image+".raw")
	if _, err := os.Stat(path); err == nil {
		instance.Image = &driver.Image{Path: path, ImageContent: cluster.ImageContent{Name: instance.Spec.Image, Format: cluster.FormatRaw}}
	}
	return instance
}

func newBench(t *testing.T) bench {
	t.Helper()
	require.Root(t)
	require.QEMU(t)
	b := bench{images: t.TempDir(), mark: "ciaotest-" + uuid.NewString()[:8]}
	for name, behaviour := range map[string]vmtest.Behaviour{"waits": vmtest.Waits, "ends": vmtest.Ends, "resists": vmtest.Resists, "fills": vmtest.Fills, "reboots": vmtest.Reboots, "echoes": vmtest.Echoes} {
		vmtest.BootSector(t, filepath.Join(b.images, name+".raw"), "it "+name+"\n", behaviour)
	}
	return b.reopen(t, t.TempDir())
}

func (b bench) reopen(t *testing.T, instances string) bench {
	t.Helper()
	d, err := New(Config{Mark: b.mark, Instances: instances, Taps: noTaps{}, Accelerator: "tcg", TimeScale: 5})
	if err != nil {
		t.Fatal(err)
	}
	b.Driver = d
	return b
}

func (b bench) instance() driver.Instance {
	id := uuid.NewString()
	return driver.Instance{
		ID: id, Generation: 1, Name: "vm-" + id[:8], Kind: cluster.KindVM, Directory: filepath.Join(b.config.Instances, id),
		Spec: cluster.WorkloadSpec{Kind: cluster.KindVM, Image: "waits", Requirements: cluster.Requirements{MemoryMiB: 64}}.WithDefaults(),
	}
}

func TestConformance(t *testing.T) {
	drivertest.Run(t, func(t *testing.T) drivertest.Harness {
		b := newBench(t)
		return drivertest.Harness{
			Driver:        b,
			Reopen:        func(t *testing.T) driver.Driver { return b.reopen(t, b.config.Instances) },
			Instance:      func(*testing.T) driver.Instance { return b.instance() },
			Port:          func(*testing.T, driver.Instance) {},
			ExitImage:     "ends",
			StubbornImage: "resists",
			Echo:          func(instance driver.Instance) driver.Instance { instance.Spec.Image = "echoes"; return instance },
			MissingImage:  "nowhere", MissingError: cluster.ErrNotFound,
			Interrupt: func(t *testing.T) { b.crash(t) },
		}
	})
}

// crash ends every QEMU and its supervisor, as a loss of power does.
func (b bench) crash(t *testing.T) {
	t.Helper()
	running, err := b.running(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range running {
		b.carrier(id).shim().Kill()
		if err := b.carrier(id).shim().Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
