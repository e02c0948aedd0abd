package launcher

import (
	"context"
	"errors"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
)

// engine watches one driver: it passes on what changed, knows when the driver's engine is down, and when it is back lets the owners
// look at what became of their carriers and adopts carriers without an owner, to remove them.
type engine struct {
	launcher *Launcher
	driver   driver.Driver
	doubt    chan struct{}
	down     bool   // guarded by launcher.mu
	trouble  string // why it is down; guarded by launcher.mu
	full     string // why it has no room for more, on a disk of its own; guarded by launcher.mu
}

const (
	listTimeout = 10 * time.Second
	listAgain   = time.Second // while the engine is down
)

func (l *Launcher) newEngine(d driver.Driver) *engine {
	return &engine{launcher: l, driver: d, doubt: make(chan struct{}, 1)}
}

// suspect says that the engine did not answer.
func (e *engine) suspect() {
	select {
	case e.doubt <- struct{}{}:
	default:
	}
}

func (e *engine) run(ctx context.Context) {
	changes := e.driver.Watch(ctx)
	again := time.NewTimer(0)
	if !e.isDown() {
		again.Stop()
	}
	defer again.Stop()
	for {
		missed := false
		select {
		case id, open := <-changes:
			switch {
			case !open:
				return
			case id != "":
				e.launcher.notify(id, mail{changed: true})
				continue
			}
			missed = true
		case <-e.doubt:
		case <-again.C:
		}
		if !e.check(ctx, missed) {
			again.Reset(e.launcher.config.scaled(listAgain))
		}
	}
}

// check asks the engine what it carries, and says whether it answered. The owners look again if they may have missed something.
func (e *engine) check(ctx context.Context, missed bool) bool {
	statuses, err := e.list(ctx)
	if ctx.Err() != nil {
		return true
	}
	if err != nil {
		e.setDown(true, err)
		return false
	}
	if e.setDown(false, nil) || missed {
		e.launcher.adopt(e.driver.Kind(), statuses)
		e.launcher.revive(e.driver.Kind())
	}
	return true
}

func (e *engine) list(ctx context.Context) ([]driver.Status, error) {
	limited, cancel := context.WithTimeout(ctx, e.launcher.config.scaled(listTimeout))
	defer cancel()
	return e.driver.List(limited)
}

func (e *engine) isDown() bool {
	e.launcher.mu.Lock()
	defer e.launcher.mu.Unlock()
	return e.down
}

// setDown says whether that is news.
func (e *engine) setDown(down bool, reason error) bool {
	e.launcher.mu.Lock()
	news := e.down != down
	e.down = down
	if news { // its first words: the later ones would be news each time
		e.trouble = troubleOf(reason)
	}
	e.launcher.mu.Unlock()
	if !news {
		return false
	}
	if down {
		e.launcher.logger.Warn("engine does not answer; its instances keep their last known state", "kind", e.driver.Kind(), "error", reason)
	} else {
		e.launcher.logger.Info("engine answers again", "kind", e.driver.Kind())
	}
	e.launcher.tellChanges(true)
	return true
}

// lookForRoom asks the engines that have disks of their own whether there is room.
func (l *Launcher) lookForRoom(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, l.config.scaled(listTimeout))
	defer cancel()
	for kind, d := range l.drivers {
		housed, able := d.(driver.Housed)
		if !able {
			continue
		}
		full := bounded(housed.Full(ctx))
		l.mu.Lock()
		l.engines[kind].full = full
		l.mu.Unlock()
	}
}

func troubleOf(reason error) string {
	if reason == nil {
		return ""
	}
	return bounded(reason.Error())
}

// notify tells one owner.
func (l *Launcher) notify(id string, m mail) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if o := l.owners[id]; o != nil {
		o.box.put(m)
	}
}

// revive tells all owners of a kind that their engine answers again.
func (l *Launcher) revive(kind cluster.Kind) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range l.owners {
		if o.reported.Kind == kind {
			o.box.put(mail{revived: true})
		}
	}
}

// adopt gives carriers without a record an owner that wants them deleted.
func (l *Launcher) adopt(kind cluster.Kind, statuses []driver.Status) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, status := range statuses {
		if l.owners[status.ID] != nil || l.unreadable[status.ID] || !cluster.ValidID(status.ID) {
			continue
		}
		l.logger.Info("carrier without a record is removed", "instance", status.ID, "kind", kind)
		o := l.newOwner(record{ID: status.ID, Kind: kind, Generation: status.Generation})
		o.orphan = true
		o.machine.wish(cluster.WantDeleted, status.Generation)
		l.report(o, o.report())
		l.run(o)
	}
}

// firstList asks an engine before any owner works.
func (e *engine) firstList(ctx context.Context) (map[string]driver.Status, error) {
	statuses, err := e.list(ctx)
	switch {
	case errors.Is(err, cluster.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		e.setDown(true, err)
		return nil, nil
	case err != nil:
		return nil, err
	}
	found := make(map[string]driver.Status, len(statuses))
	for _, status := range statuses {
		found[status.ID] = status
	}
	return found, nil
}
