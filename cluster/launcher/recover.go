package launcher

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
)

// restore brings back what the node had before this launcher: records, what carries them, and their ports. Nothing is changed yet,
// but for carriers without a record, which get an owner that removes them.
func (l *Launcher) restore(ctx context.Context) error {
	kept, err := l.records.load()
	if err != nil {
		l.logger.Error("some instances are left alone", "error", err)
		l.noteUnreadable(kept)
	}
	carried := map[cluster.Kind]map[string]driver.Status{}
	for kind, e := range l.engines {
		if carried[kind], err = e.firstList(ctx); err != nil {
			return fmt.Errorf("ask the driver of kind %s what it carries: %w", kind, err)
		}
	}
	l.mu.Lock()
	for _, r := range kept {
		l.restoreOne(r, carried)
	}
	l.mu.Unlock()
	for kind, found := range carried {
		for id, status := range found {
			l.adopt(kind, []driver.Status{{ID: id, Generation: status.Generation}})
		}
	}
	l.logger.Info("instances found on the node", "records", len(kept))
	return nil
}

// restoreOne gives a record its owner. l.mu is held.
func (l *Launcher) restoreOne(r record, carried map[cluster.Kind]map[string]driver.Status) {
	o := l.newOwner(r)
	o.machine = restored(r)
	if l.drivers[r.Kind] == nil {
		l.logger.Error("the node has no driver for an instance that it has", "instance", r.ID, "kind", r.Kind)
		l.unreadable[r.ID] = true
		return
	}
	if found := carried[r.Kind]; found != nil {
		status, there := found[r.ID]
		if !there {
			status = driver.Status{ID: r.ID, Condition: driver.Absent}
		}
		o.machine.observe(status)
	}
	if port, wanted := r.port(); wanted {
		l.fabric.adopt(port)
	}
	l.report(o, o.report())
	l.run(o)
}

// restored is the machine of an instance as its record has it; what carries it is not known yet.
func restored(r record) machine {
	m := machine{want: r.Want, generation: r.Generation, settled: r.Settled, failure: r.Failure, retry: r.Retry}
	if r.Settled == cluster.Exited {
		m.carrier = driver.Status{Condition: driver.Ended, Generation: r.Generation, ExitCode: r.ExitCode, Reason: r.Reason}
	}
	return m
}

// noteUnreadable keeps instances whose record cannot be read from being taken for carriers without one.
func (l *Launcher) noteUnreadable(readable []record) {
	known := map[string]bool{}
	for _, r := range readable {
		known[r.ID] = true
	}
	paths, _ := filepath.Glob(l.records.path("*")) // the pattern is well formed
	for _, path := range paths {
		if id := filepath.Base(path); !known[id] {
			l.unreadable[id] = true
		}
	}
}
