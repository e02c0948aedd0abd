package drivertest

import (
	"fmt"
	"sync"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
)

func life(s *suite) {
	instance := s.instance()
	s.is(instance, driver.Absent)
	s.create(instance)
	if status := s.is(instance, driver.Created); status.Generation != 1 || status.ExitCode != nil {
		s.Errorf("after create: %+v", status)
	}
	s.start(instance)
	first := s.is(instance, driver.Running)
	if first.Started.IsZero() || !first.Finished.IsZero() || first.Interrupted {
		s.Errorf("while running: %+v", first)
	}
	s.stop(instance)
	if status := s.is(instance, driver.Ended); status.ExitCode == nil || status.Finished.Before(status.Started) || status.Interrupted {
		s.Errorf("after stop: %+v", status)
	}
	s.start(instance)
	if again := s.is(instance, driver.Running); !again.Started.After(first.Started) {
		s.Errorf("started again at %s, first at %s", again.Started, first.Started)
	}
	s.remove(instance)
	s.is(instance, driver.Absent)
	if _, there := s.listed(s.Driver, instance); there {
		s.Error("still listed after delete")
	}
}

func repeated(s *suite) {
	instance := s.instance()
	for _, step := range []struct {
		do   func(driver.Instance)
		want driver.Condition
	}{
		{s.create, driver.Created}, {s.start, driver.Running}, {s.stop, driver.Ended}, {s.remove, driver.Absent},
	} {
		step.do(instance)
		before := s.is(instance, step.want)
		step.do(instance)
		if after := s.is(instance, step.want); !after.Started.Equal(before.Started) {
			s.Errorf("a repeated call started it again: %+v, before %+v", after, before)
		}
	}
	s.stop(instance)
	s.remove(instance)
}

func unknown(s *suite) {
	instance := s.Instance(s.T)
	s.is(instance, driver.Absent)
	s.refused("start", s.Driver.Start(s.ctx, instance.ID), cluster.ErrNotFound)
	s.stop(instance)
	s.remove(instance)
}

func exitCode(s *suite) {
	for _, code := range []int{0, 3} {
		instance, code := s.ending(s.instance(), code)
		s.create(instance)
		s.start(instance)
		status := s.becomes(instance, driver.Ended)
		if status.ExitCode == nil || *status.ExitCode != code || status.Interrupted || status.Reason == "" {
			s.Errorf("command that exits with %d: %+v", code, status)
		}
	}
}

func stubborn(s *suite) {
	instance := s.instance()
	if s.Stubborn != nil {
		instance.Spec.Command = s.Stubborn
	} else {
		instance.Spec.Image = s.StubbornImage
	}
	s.create(instance)
	s.start(instance)
	if s.Deaf != nil {
		s.eventually("that it does not hear", func() bool { return s.Deaf(s.T, instance) })
	}
	begun := time.Now()
	if err := s.Driver.Stop(s.ctx, instance.ID, time.Second); err != nil {
		s.Fatalf("stop: %v", err)
	}
	if waited := time.Since(begun); waited < time.Second {
		s.Errorf("killed after %s, before its grace of 1s was over", waited)
	}
	s.is(instance, driver.Ended)
}

func deleteRunning(s *suite) {
	instance := s.instance()
	s.create(instance)
	s.start(instance)
	s.remove(instance)
	s.is(instance, driver.Absent)
}

func privileged(s *suite) {
	instance := s.instance()
	instance.Spec.Privileged = true
	s.refused("create a privileged instance without permission", s.Driver.Create(s.ctx, instance, nil), cluster.ErrPermission)
	s.is(instance, driver.Absent)
}

// many has every instance in a goroutine of its own, as the launcher does.
func many(s *suite) {
	const count = 12
	instances := make([]driver.Instance, count)
	for i := range instances {
		instances[i] = s.instance()
		s.Port(s.T, instances[i])
	}
	s.together(instances, func(instance driver.Instance) error {
		if err := s.Driver.Create(s.ctx, instance, nil); err != nil {
			return err
		}
		return s.Driver.Start(s.ctx, instance.ID)
	})
	for _, instance := range instances {
		s.is(instance, driver.Running)
	}
	s.together(instances, func(instance driver.Instance) error { return s.Driver.Delete(s.ctx, instance.ID) })
	for _, instance := range instances {
		s.is(instance, driver.Absent)
	}
}

func (s *suite) together(instances []driver.Instance, do func(driver.Instance) error) {
	s.Helper()
	var all sync.WaitGroup
	errs := make(chan error, len(instances))
	for _, instance := range instances {
		all.Go(func() {
			if err := do(instance); err != nil {
				errs <- fmt.Errorf("%s: %w", instance.Name, err)
			}
		})
	}
	all.Wait()
	close(errs)
	for err := range errs {
		s.Error(err)
	}
}
