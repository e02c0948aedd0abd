package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/driver/cgroup"
	"github.com/ciaocloud/ciao/cluster/driver/drivertest"
)

// launcherEnvironment has the test binary be a launcher that does an order and is killed meanwhile.
const launcherEnvironment = "CIAO_TEST_LAUNCHER"

func TestMain(m *testing.M) {
	if description := os.Getenv(launcherEnvironment); description != "" {
		if err := launch(description); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// order is what a launcher does to an instance.
type order struct {
	Mark, Instances string
	Steps           []string // of create, start, stop, delete, attach
	Instance        driver.Instance
	Volume          driver.Volume // to attach
}

func launch(description string) error {
	var o order
	if err := json.Unmarshal([]byte(description), &o); err != nil {
		return err
	}
	d, err := New(Config{Mark: o.Mark, Instances: o.Instances, Taps: noTaps{}, Accelerator: "tcg", TimeScale: 5})
	if err != nil {
		return err
	}
	ctx := context.Background()
	for _, step := range o.Steps {
		err = errors.Join(err, map[string]func() error{
			"create": func() error { return d.Create(ctx, o.Instance, nil) },
			"start":  func() error { return d.Start(ctx, o.Instance.ID) },
			"stop":   func() error { return d.Stop(ctx, o.Instance.ID, time.Minute) },
			"delete": func() error { return d.Delete(ctx, o.Instance.ID) },
			"attach": func() error { return d.Attach(ctx, o.Instance.ID, o.Volume) },
		}[step]())
	}
	return err
}

// The launcher is killed at many moments of every step of a machine's life, and QEMU with it every other time. Its successor brings the machine
// where it is wanted, never with a second QEMU, and a delete leaves nothing.
func TestKilledAtEveryStep(t *testing.T) {
	b := newBench(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, steps := range [][]string{{"create", "start"}, {"stop"}, {"delete"}} {
		whole := b.strike(t, self, steps, time.Hour, false) // nothing strikes it: how long it takes here and now
		const moments = 8
		for k := range moments {
			b.strike(t, self, steps, whole*time.Duration(k)/moments, k%2 == 1)
		}
	}
}

// strike has a launcher do steps to a machine, kills it at the moment, and QEMU, too, and judges what its successor makes of that. It returns
// how long the launcher lived.
func (b bench) strike(t *testing.T, self string, steps []string, moment time.Duration, qemu bool) time.Duration {
	t.Helper()
	instance := b.imaged(b.instance())
	t.Cleanup(func() {
		if err := b.Delete(context.Background(), instance.ID); err != nil {
			t.Error(err)
		}
	})
	if steps[0] != "create" {
		if err := errors.Join(b.Create(t.Context(), instance, nil), b.Start(t.Context(), instance.ID)); err != nil {
			t.Fatal(err)
		}
	}
	description, err := json.Marshal(order{Mark: b.mark, Instances: b.config.Instances, Steps: steps, Instance: instance})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), moment) // the moment is the point
	defer cancel()
	launcher := exec.CommandContext(ctx, self)
	launcher.Env, launcher.Stderr = append(os.Environ(), launcherEnvironment+"="+string(description)), os.Stderr
	begun := time.Now()
	if err := launcher.Run(); err != nil && ctx.Err() == nil {
		t.Fatalf("%v: %v", steps, err)
	}
	lived := time.Since(begun)
	if qemu {
		if err := b.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	what := fmt.Sprintf("%v, killed after %s (QEMU, too: %t)", steps, moment, qemu)
	b = b.reopen(t, b.config.Instances)
	switch steps[len(steps)-1] {
	case "start":
		err = b.Create(t.Context(), instance, nil)
		b.alone(t, what, instance.ID)
	case "stop":
		if err = b.Stop(t.Context(), instance.ID, time.Minute); err == nil {
			b.becomes(t, instance.ID, driver.Ended)
			b.alone(t, what, instance.ID) // with the disk that it had
		}
	}
	if err = errors.Join(err, b.Delete(t.Context(), instance.ID)); err != nil || b.Trace(instance.ID) {
		t.Errorf("%s: %v, something is left: %t", what, err, b.Trace(instance.ID))
	}
	return lived
}

// alone starts the machine, as often as its launcher would do it, and wants it to run in exactly one QEMU: what is killed takes a moment to be
// gone.
func (b bench) alone(t *testing.T, what, id string) {
	t.Helper()
	for deadline := time.Now().Add(drivertest.Patience); ; time.Sleep(20 * time.Millisecond) {
		if err := b.Start(t.Context(), id); err != nil && !errors.Is(err, cluster.ErrUnavailable) && !errors.Is(err, cluster.ErrConflict) {
			t.Fatalf("%s: %v", what, err)
		}
		status, err := b.Status(t.Context(), id)
		inside, err2 := cgroup.Processes(cgroup.Root, b.group(id))
		if err == nil && err2 == nil && status.Condition == driver.Running && len(inside) == 1 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: it is %+v, %v, with processes %v, %v", what, status, err, inside, err2)
		}
	}
}
