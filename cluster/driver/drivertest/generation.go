package drivertest

import (
	"context"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
)

func sameGeneration(s *suite) {
	instance := s.instance()
	s.create(instance)
	s.start(instance)
	before := s.is(instance, driver.Running)
	s.create(instance)
	if after := s.is(instance, driver.Running); !after.Started.Equal(before.Started) || after.Generation != before.Generation {
		s.Errorf("create of the same generation made %+v of %+v", after, before)
	}
}

func newGeneration(s *suite) {
	instance := s.instance()
	s.create(instance)
	s.start(instance)
	s.stop(instance)
	for instance.Generation < 3 {
		instance.Generation++
		s.create(instance)
		if status := s.status(instance); status.Generation != instance.Generation || status.Condition != driver.Created {
			s.Fatalf("after create of generation %d: %+v", instance.Generation, status)
		}
		s.start(instance)
		if status := s.is(instance, driver.Running); status.Generation != instance.Generation {
			s.Fatalf("after start of generation %d: %+v", instance.Generation, status)
		}
		if status, _ := s.listed(s.Reopen(s.T), instance); status.Generation != instance.Generation {
			s.Fatalf("another driver finds %+v, want generation %d", status, instance.Generation)
		}
		s.stop(instance)
	}
}

func runningOldOne(s *suite) {
	instance := s.instance()
	s.create(instance)
	s.start(instance)
	instance.Generation = 2
	s.create(instance)
	if status := s.status(instance); status.Condition != driver.Created || status.Generation != 2 {
		s.Fatalf("after create of generation 2: %+v", status)
	}
	s.start(instance)
	s.is(instance, driver.Running)
}

func lateCommand(s *suite) {
	instance := s.instance()
	instance.Generation = 5
	s.create(instance)
	s.start(instance)
	late := instance
	late.Generation = 4
	s.refused("create of an older generation", s.Driver.Create(s.ctx, late, nil), cluster.ErrConflict)
	if status := s.is(instance, driver.Running); status.Generation != 5 {
		s.Errorf("after a late command: %+v", status)
	}
}

// cancelledCreate gives a create up at several moments; whatever the carrier goes on to make, a delete must remove it.
func cancelledCreate(s *suite) {
	for _, moment := range []time.Duration{0, time.Millisecond, 5 * time.Millisecond, 20 * time.Millisecond, 100 * time.Millisecond} {
		instance := s.instance()
		ctx, cancel := context.WithTimeout(s.ctx, moment)
		err := s.Driver.Create(ctx, instance, nil)
		cancel()
		s.Logf("given up after %s: %v", moment, err)
		s.remove(instance)
		s.is(instance, driver.Absent)
		if status, there := s.listed(s.Reopen(s.T), instance); there {
			s.Errorf("given up after %s and deleted, but there is %+v", moment, status)
		}
	}
}
