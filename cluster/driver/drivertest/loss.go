package drivertest

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
)

func watch(s *suite) {
	instance := s.instance()
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	changes := s.Driver.Watch(ctx)
	for _, step := range []struct {
		do   func(driver.Instance)
		want driver.Condition
	}{
		{s.create, driver.Created}, {s.start, driver.Running}, {s.stop, driver.Ended}, {s.remove, driver.Absent},
	} {
		step.do(instance)
		s.told(changes, instance, step.want)
	}
	ending, _ := s.ending(s.instance(), 7)
	s.create(ending)
	s.start(ending)
	s.told(changes, ending, driver.Ended)
	cancel()
	s.closed(changes)
}

// told waits to be told of the instance, or that something was missed, until the condition is the wanted one.
func (s *suite) told(changes <-chan string, instance driver.Instance, want driver.Condition) {
	s.Helper()
	deadline := time.NewTimer(Patience)
	defer deadline.Stop()
	for {
		select {
		case id, open := <-changes:
			if !open {
				s.Fatal("the channel was closed before its context ended")
			}
			if (id == instance.ID || id == "") && s.status(instance).Condition == want {
				return
			}
		case <-deadline.C:
			s.Fatalf("not told of %s within %s", want, Patience)
		}
	}
}

func (s *suite) closed(changes <-chan string) {
	s.Helper()
	deadline := time.NewTimer(Patience)
	defer deadline.Stop()
	for {
		select {
		case _, open := <-changes:
			if !open {
				return
			}
		case <-deadline.C:
			s.Fatal("the channel was not closed when its context ended")
		}
	}
}

// reopen is a restart of the launcher: a driver that knows nothing finds all, and carries on.
func reopen(s *suite) {
	running, created := s.instance(), s.instance()
	ended, code := s.ending(s.instance(), 4)
	for _, instance := range []driver.Instance{running, created, ended} {
		s.create(instance)
	}
	s.start(running)
	s.start(ended)
	s.becomes(ended, driver.Ended)
	second := s.Reopen(s.T)
	for _, want := range []struct {
		driver.Instance
		driver.Condition
	}{{running, driver.Running}, {created, driver.Created}, {ended, driver.Ended}} {
		if status, _ := s.listed(second, want.Instance); status.Condition != want.Condition || status.Generation != 1 {
			s.Errorf("the new driver lists %+v, want %s", status, want.Condition)
		}
	}
	if status, _ := s.listed(second, ended); status.ExitCode == nil || *status.ExitCode != code || status.Interrupted {
		s.Errorf("the new driver lists %+v, want exit code %d", status, code)
	}
	if err := second.Stop(s.ctx, running.ID, 10*time.Second); err != nil {
		s.Errorf("stop by the new driver: %v", err)
	}
	s.is(running, driver.Ended)
	if err := second.Delete(s.ctx, running.ID); err != nil {
		s.Errorf("delete by the new driver: %v", err)
	}
	s.is(running, driver.Absent)
}

func missingImage(s *suite) {
	if s.MissingImage == "" {
		return
	}
	instance := s.instance()
	instance.Spec.Image = s.MissingImage
	for policy, class := range map[cluster.PullPolicy]error{cluster.PullNever: cluster.ErrNotFound, cluster.PullMissing: s.MissingError} {
		instance.Spec.Pull = policy
		err := s.Driver.Create(s.ctx, instance, nil)
		s.refused("create with an unknown image, pull "+string(policy), err, class)
		if !strings.Contains(err.Error(), s.MissingImage) {
			s.Errorf("the error does not name the image: %v", err)
		}
		s.is(instance, driver.Absent)
	}
	s.remove(instance)
}

// interrupt takes the engine down under a running instance, beside one that had ended by itself.
func interrupt(s *suite) {
	if s.Interrupt == nil {
		return
	}
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	s.drain(s.Driver.Watch(ctx)) // a launcher always watches
	running := s.instance()
	ended, code := s.ending(s.instance(), 6)
	for _, instance := range []driver.Instance{running, ended} {
		s.create(instance)
		s.start(instance)
	}
	s.becomes(ended, driver.Ended)
	s.Interrupt(s.T)
	if status := s.becomes(running, driver.Ended); !status.Interrupted || status.Reason == "" {
		s.Errorf("the engine went down under it, but its status is %+v", status)
	}
	if status := s.is(ended, driver.Ended); status.Interrupted || status.ExitCode == nil || *status.ExitCode != code {
		s.Errorf("it had ended by itself with code %d, but its status is %+v", code, status)
	}
	s.start(running)
	s.is(running, driver.Running)
	s.stop(running)
	if status := s.is(running, driver.Ended); status.Interrupted {
		s.Errorf("stopped on request after the engine came back, but its status is %+v", status)
	}
}

// drain takes what a watch sends until it ends.
func (s *suite) drain(changes <-chan string) {
	var drained sync.WaitGroup
	drained.Go(func() {
		for range changes {
		}
	})
	s.Cleanup(drained.Wait)
}

// freeze has every call end with its context.
func freeze(s *suite) {
	if s.Freeze == nil {
		return
	}
	instance, other := s.instance(), s.instance()
	s.create(instance)
	s.Port(s.T, instance)
	calls := map[string]func(context.Context) error{
		"create": func(ctx context.Context) error { return s.Driver.Create(ctx, other, nil) },
		"start":  func(ctx context.Context) error { return s.Driver.Start(ctx, instance.ID) },
		"stop":   func(ctx context.Context) error { return s.Driver.Stop(ctx, instance.ID, time.Second) },
		"delete": func(ctx context.Context) error { return s.Driver.Delete(ctx, instance.ID) },
		"status": func(ctx context.Context) error { _, err := s.Driver.Status(ctx, instance.ID); return err },
		"list":   func(ctx context.Context) error { _, err := s.Driver.List(ctx); return err },
	}
	thaw := s.Freeze(s.T)
	for name, call := range calls {
		ctx, cancel := context.WithTimeout(s.ctx, 200*time.Millisecond)
		begun := time.Now()
		err := call(ctx)
		cancel()
		s.refused(name+" on a frozen carrier", err, cluster.ErrUnavailable)
		if waited := time.Since(begun); waited > Patience/4 {
			s.Errorf("%s came back %s after a deadline of 200ms", name, waited)
		}
	}
	thaw()
	s.eventually("the thawed carrier's answer", func() bool { _, err := s.Driver.Status(s.ctx, instance.ID); return err == nil })
}
