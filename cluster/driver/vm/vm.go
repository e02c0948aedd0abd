package vm

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/ciaocloud/ciao/ccloudvm/qemu"
	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/driver/cgroup"
	"github.com/ciaocloud/ciao/cluster/driver/shim"
)

// Taps opens the ports of virtual machines.
type Taps interface {
	// OpenTap returns a descriptor of the tap of that name in the node's network (tuntap(4)). It cannot be had twice at a time.
	OpenTap(ctx context.Context, name string) (*os.File, error)
}

// Config says how the driver works; Mark, Instances and Taps are required.
type Config struct {
	// Mark begins the names of the machines' control groups; it is this node's own.
	Mark string
	// Instances is the directory that holds a directory for each instance, named by its id.
	Instances string
	Taps      Taps
	// Accelerator is "auto" (or empty): hardware virtualisation where a trial guest runs on it, else emulation; or "kvm" or "tcg".
	Accelerator string
	// Cache is a directory that remembers the trial; empty tries again whenever the driver is made.
	Cache     string
	TimeScale float64 // multiplies every deadline; default 1
	Logger    *slog.Logger
}

// Driver runs virtual machines. Make it with New.
type Driver struct {
	config   Config
	logger   *slog.Logger
	watchers shim.Watchers
	seats    driver.Seats
	meter    cgroup.Meter
	troubles troubles

	trial       sync.Mutex
	accelerator qemu.Accelerator // once it is chosen
}

var (
	_ driver.Driver   = (*Driver)(nil)
	_ driver.Attacher = (*Driver)(nil)
	_ driver.Consoler = (*Driver)(nil)
	_ driver.Logger   = (*Driver)(nil)
	_ driver.Sampler  = (*Driver)(nil)
)

// New checks the configuration. A machine that lacks what virtual machines take is cluster.ErrNotFound.
func New(config Config) (*Driver, error) {
	var problems cluster.Problems
	if !filepath.IsAbs(config.Instances) {
		problems.Add("Instances", "%q must be an absolute path", config.Instances)
	}
	if config.Taps == nil || config.Mark == "" {
		problems.Add("Mark, Taps", "are required")
	}
	if err := problems.Err(); err != nil {
		return nil, fmt.Errorf("driver of virtual machines: %w", err)
	}
	if err := lacking(tunDevice); err != nil {
		return nil, err
	}
	config.TimeScale = cmp.Or(config.TimeScale, 1)
	return &Driver{config: config, logger: cmp.Or(config.Logger, slog.New(slog.DiscardHandler))}, nil
}

const tunDevice = "/dev/net/tun"

// lacking says what this machine lacks.
func lacking(tun string) error {
	for program, remedy := range map[string]string{qemu.Binary: "qemu-system-x86", "qemu-img": "qemu-utils", "setpriv": "util-linux"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%w: virtual machines need the program %s; install the package %s", cluster.ErrNotFound, program, remedy)
		}
	}
	if _, err := os.Stat(tun); err != nil {
		return fmt.Errorf("%w: virtual machines need %s for their network; load the kernel module tun", cluster.ErrNotFound, tun)
	}
	return nil
}

// Kind implements driver.Driver.
func (d *Driver) Kind() cluster.Kind { return cluster.KindVM }

// Run chooses the accelerator, which takes seconds the first time, so that no machine has to wait for it, and looks after the running machines
// until ctx ends: without it nobody notices one that is frozen, or halted for want of room.
func (d *Driver) Run(ctx context.Context) error {
	chosen, err := d.choose(ctx)
	if err != nil {
		d.logger.Warn("virtual machines cannot run yet", "error", err)
	} else {
		d.logger.Info("virtual machines can run", "accelerator", chosen.Kind, "reason", chosen.Reason)
	}
	d.attend(ctx)
	return nil
}

func (d *Driver) choose(ctx context.Context) (qemu.Accelerator, error) {
	d.trial.Lock()
	defer d.trial.Unlock()
	if d.accelerator.Kind != "" {
		return d.accelerator, nil
	}
	chosen, err := qemu.Prober{CacheDir: d.config.Cache, As: as(firstUser-1, qemu.KVM)}.Choose(ctx, d.config.Accelerator)
	if err != nil {
		return chosen, fmt.Errorf("%w: %w", cluster.ErrUnavailable, err)
	}
	d.accelerator = chosen
	return chosen, nil
}

func (d *Driver) scaled(duration time.Duration) time.Duration {
	return time.Duration(d.config.TimeScale * float64(duration))
}

// carrier is where one machine's files are.
func (d *Driver) carrier(id string) carrier {
	return carrier{id: id, directory: filepath.Join(d.config.Instances, id, "vm")}
}
