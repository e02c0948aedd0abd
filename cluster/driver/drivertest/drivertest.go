// Package drivertest is the conformance suite of package driver: every driver, and the simulation that stands for them in other
// tests, passes the same Run.
//
// A driver's own test gives a Harness for a carrier that it may use as it likes. What a carrier cannot do (run a shell, be frozen, be
// taken down) the harness leaves nil, and the tests for it are not part of that driver's suite.
package drivertest

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster/driver"
)

// Patience is how long the suite waits for a condition. It is generous: a test fails by it only when the condition never comes.
const Patience = 2 * time.Minute

// Harness is one carrier and what the suite may do with it.
type Harness struct {
	Driver driver.Driver

	// Reopen makes another Driver over the same carrier, as a restarted launcher does.
	Reopen func(t *testing.T) driver.Driver

	// Instance makes an instance with an id and a name that were never used, which runs until it is asked to stop and then ends at
	// once. Its generation is 1. What it needs (network, directory) is there until the test ends.
	Instance func(t *testing.T) driver.Instance

	// Port makes sure that the instance's port is there, before a start.
	Port func(t *testing.T, instance driver.Instance)

	// Exit is a command that ends by itself with a code.
	Exit func(code int) []string

	// Stubborn is a command that runs on when it is asked to stop.
	Stubborn []string

	// Deaf tells whether an instance with the command Stubborn has come so far that it runs on; nil where it does from its first
	// instruction. A shell that has not set its trap yet ends as any other program.
	Deaf func(t *testing.T, instance driver.Instance) bool

	// ExitImage and StubbornImage are for carriers that run no commands, instead of Exit and Stubborn: images of instances that
	// end by themselves with code 0, and that run on when they are asked to stop.
	ExitImage, StubbornImage string

	// Echo makes the instance send back what is typed at its console; for drivers that have one.
	Echo func(instance driver.Instance) driver.Instance

	// MissingImage is the reference of an image that cannot be had, and MissingError the class of the error when it is fetched;
	// empty for drivers without images.
	MissingImage string
	MissingError error

	// Shell is true when commands are run by a POSIX shell at /bin/sh.
	Shell bool

	// Interrupt takes the carrier's engine down under its instances and up again.
	Interrupt func(t *testing.T)

	// Freeze makes the carrier stop answering until thaw is called.
	Freeze func(t *testing.T) (thaw func())
}

// tests are the suite's, by name.
func tests() map[string]func(*suite) {
	return map[string]func(*suite){
		"Life":               life,
		"Repeated":           repeated,
		"Unknown":            unknown,
		"SameGeneration":     sameGeneration,
		"NewGeneration":      newGeneration,
		"RunningOldOne":      runningOldOne,
		"LateCommand":        lateCommand,
		"ExitCode":           exitCode,
		"Stubborn":           stubborn,
		"DeleteRunning":      deleteRunning,
		"Watch":              watch,
		"Reopen":             reopen,
		"CancelledCreate":    cancelledCreate,
		"Many":               many,
		"Privileged":         privileged,
		"MissingImage":       missingImage,
		"Interrupt":          interrupt,
		"Freeze":             freeze,
		"Statistics":         statistics,
		"Disk":               disk,
		"Volumes":            volumes,
		"VolumesAfterCrash":  volumesAfterCrash,
		"CommandEnvironment": commandAndEnvironment,
		"Logs":               logs,
		"Exec":               execute,
		"ExecLeft":           executionLeft,
		"Console":            console,
		"Memory":             memory,
		"Pids":               pids,
		"CPU":                cpu,
	}
}

// Run checks the whole contract; every test gets a new harness.
func Run(t *testing.T, open func(t *testing.T) Harness) {
	RunOnly(t, open, slices.Sorted(maps.Keys(tests()))...)
}

// RunOnly runs the named tests, for a second harness that differs in a few things only.
func RunOnly(t *testing.T, open func(t *testing.T) Harness, names ...string) {
	all := tests()
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			test, ok := all[name]
			if !ok {
				t.Fatalf("drivertest has no test %q", name)
			}
			test(newSuite(t, open))
		})
	}
}

// suite is one test with its harness.
type suite struct {
	*testing.T
	Harness
	ctx context.Context
}

func newSuite(t *testing.T, open func(t *testing.T) Harness) *suite {
	ctx, cancel := context.WithTimeout(t.Context(), 2*Patience)
	t.Cleanup(cancel)
	return &suite{T: t, Harness: open(t), ctx: ctx}
}

// instance makes an instance that is deleted when the test ends.
func (s *suite) instance() driver.Instance {
	s.Helper()
	instance := s.Instance(s.T)
	s.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), Patience)
		defer cancel()
		if err := s.Driver.Delete(ctx, instance.ID); err != nil {
			s.Errorf("delete at the end: %v", err)
		}
	})
	return instance
}

// ending makes the instance end by itself, with the code if its carrier knows other ones than 0, and returns the code.
func (s *suite) ending(instance driver.Instance, code int) (driver.Instance, int) {
	if s.Exit == nil {
		instance.Spec.Image = s.ExitImage
		return instance, 0
	}
	instance.Spec.Command = s.Exit(code)
	return instance, code
}

func (s *suite) create(instance driver.Instance) {
	s.Helper()
	if err := s.Driver.Create(s.ctx, instance, func(string, string) {}); err != nil {
		s.Fatalf("create: %v", err)
	}
}

func (s *suite) start(instance driver.Instance) {
	s.Helper()
	s.Port(s.T, instance)
	if err := s.Driver.Start(s.ctx, instance.ID); err != nil {
		s.Fatalf("start: %v", err)
	}
}

func (s *suite) stop(instance driver.Instance) {
	s.Helper()
	if err := s.Driver.Stop(s.ctx, instance.ID, 10*time.Second); err != nil {
		s.Fatalf("stop: %v", err)
	}
}

func (s *suite) remove(instance driver.Instance) {
	s.Helper()
	if err := s.Driver.Delete(s.ctx, instance.ID); err != nil {
		s.Fatalf("delete: %v", err)
	}
}

func (s *suite) status(instance driver.Instance) driver.Status {
	s.Helper()
	status, err := s.Driver.Status(s.ctx, instance.ID)
	if err != nil {
		s.Fatalf("status: %v", err)
	}
	if status.ID != instance.ID {
		s.Fatalf("status is of %q, want %q", status.ID, instance.ID)
	}
	return status
}

// is checks the condition that a call must have left behind when it returned.
func (s *suite) is(instance driver.Instance, want driver.Condition) driver.Status {
	s.Helper()
	status := s.status(instance)
	if status.Condition != want {
		s.Fatalf("condition is %s (%+v), want %s", status.Condition, status, want)
	}
	return status
}

// becomes waits for a condition that comes by itself.
func (s *suite) becomes(instance driver.Instance, want driver.Condition) driver.Status {
	s.Helper()
	var status driver.Status
	s.eventually("condition "+string(want), func() bool {
		status = s.status(instance)
		return status.Condition == want
	})
	return status
}

func (s *suite) eventually(what string, holds func() bool) {
	s.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(Patience)
	defer deadline.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline.C:
			s.Fatalf("%s did not come within %s", what, Patience)
		case <-s.ctx.Done():
			s.Fatalf("%s: %v", what, s.ctx.Err())
		}
	}
}

// refused checks an error's class.
func (s *suite) refused(doing string, err, class error) {
	s.Helper()
	if !errors.Is(err, class) {
		s.Fatalf("%s: error is %v, want one of class %q", doing, err, class)
	}
}

// listed finds an instance in the list of a driver.
func (s *suite) listed(d driver.Driver, instance driver.Instance) (driver.Status, bool) {
	s.Helper()
	list, err := d.List(s.ctx)
	if err != nil {
		s.Fatalf("list: %v", err)
	}
	i := slices.IndexFunc(list, func(status driver.Status) bool { return status.ID == instance.ID })
	if i < 0 {
		return driver.Status{Condition: driver.Absent}, false
	}
	return list[i], true
}

// shell makes an instance run a script.
func shell(instance driver.Instance, script string) driver.Instance {
	instance.Spec.Command = []string{"/bin/sh", "-c", script}
	return instance
}
