package launcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/payload"
)

// Launcher is the agent of one node. Make it with New.
type Launcher struct {
	config  Config
	logger  *slog.Logger
	link    *Link
	roles   []cluster.NodeRole
	drivers map[cluster.Kind]driver.Driver
	engines map[cluster.Kind]*engine
	records records
	outbox  *outbox
	starts  *starts
	fabric  *fabric
	volumes volumes

	life    context.Context // of Run: owners are born at any time and end with it
	group   sync.WaitGroup  // of owners, engines and streams
	streams atomic.Int32    // that are open

	mu         sync.Mutex
	owners     map[string]*owner
	allocated  cluster.Resources // sum of what owners reported
	graves     *graves
	unreadable map[string]bool // directories that are left alone
	told       told

	maintenance bool // an operator wants the node empty; see maintenance.go
}

// New checks the configuration and probes what it leaves open. It changes nothing on the machine.
func New(config Config) (*Launcher, error) {
	config = config.withDefaults()
	if err := config.validate(); err != nil {
		return nil, err
	}
	if err := config.probe(); err != nil {
		return nil, err
	}
	l := &Launcher{
		config: config, logger: config.Logger, link: config.Link, roles: config.Link.roles(),
		drivers: map[cluster.Kind]driver.Driver{}, engines: map[cluster.Kind]*engine{},
		records: records{InstancesDirectory(config.Directory)}, outbox: newOutbox(),
		starts: newStarts(config.MaxParallelStarts),
		owners: map[string]*owner{}, graves: newGraves(), unreadable: map[string]bool{},
	}
	for _, d := range config.Drivers {
		l.drivers[d.Kind()], l.engines[d.Kind()] = d, l.newEngine(d)
	}
	config.Link.attach(l)
	return l, nil
}

// Run works until ctx ends and waits for everything that it started; the instances go on without it. It returns an error when the node
// cannot work at all: its directory is in use or unreadable, or another process has its identity.
func (l *Launcher) Run(ctx context.Context) (err error) {
	release, err := lockDirectory(l.config.Directory)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	if l.fabric, err = newFabric(l.config.Network, filepath.Join(l.config.Directory, "subnets.json"),
		l.config.scaled(deadlines[connect]), l.logger); err != nil {
		return err
	}
	if l.maintenance, err = readMaintenance(l.config.Directory); err != nil {
		return err
	}
	life, end := context.WithCancel(ctx)
	defer l.group.Wait()
	defer end()
	l.life = life
	if err := l.restore(life); err != nil {
		if ctx.Err() != nil { // an engine was slow to answer: no fault of the node's
			return nil
		}
		return err
	}
	l.work(life)
	if err := l.link.client.Run(life); err != nil {
		return fmt.Errorf("launcher's connection: %w", err)
	}
	return nil
}

// work starts what runs beside the connection.
func (l *Launcher) work(ctx context.Context) {
	for _, e := range l.engines {
		l.group.Go(func() { e.run(ctx) })
	}
	l.group.Go(func() { l.fabric.run(ctx, func() { l.tellChanges(true) }) })
	l.group.Go(func() { l.fabric.keep(ctx) })
	l.group.Go(func() { l.deliver(ctx) })
	l.group.Go(func() { l.sample(ctx) })
}

// run lets an owner work. l.mu is held.
func (l *Launcher) run(o *owner) {
	l.owners[o.id] = o
	l.group.Go(func() { o.run(l.life) })
}

// retire buries an instance that is gone. What its owner was told meanwhile is for the next one.
func (l *Launcher) retire(o *owner) {
	l.mu.Lock()
	l.report(o, payload.InstanceReport{})
	delete(l.owners, o.id)
	l.graves.dig(o.id, o.machine.generation)
	l.mu.Unlock()
	l.outbox.report(goneReport(o.id, o.machine.generation))
	wishes, _ := o.box.take()
	for _, w := range wishes {
		if w.start != nil {
			l.start(*w.start)
		} else {
			l.command(o.id, w)
		}
	}
}

// tell reports an instance if there is news, or always when it was asked for.
func (l *Launcher) tell(o *owner, asked bool) {
	report := o.report()
	l.mu.Lock()
	news := !sameReport(report, o.reported)
	l.report(o, report)
	l.mu.Unlock()
	if report.State != cluster.Gone && !o.orphan && (news || asked) {
		l.outbox.report(report)
		l.tellChanges(true)
	}
}

// report replaces what is known to others of an instance. l.mu is held.
func (l *Launcher) report(o *owner, report payload.InstanceReport) {
	l.allocated = l.allocated.Sub(o.reported.Resources).Add(report.Resources)
	o.reported, o.heard = report, o.record.Heard
}

func sameReport(a, b payload.InstanceReport) bool {
	exits := a.ExitCode == b.ExitCode || a.ExitCode != nil && b.ExitCode != nil && *a.ExitCode == *b.ExitCode
	a.ExitCode, b.ExitCode = nil, nil
	return exits && a == b
}

// learn takes in what the controller tells of subnets, and asks for what was missed. It is called as frames come, and not when an
// instance's owner gets to its start: newer paths may have come by then. It says whether nothing was missed.
func (l *Launcher) learn(all []payload.SubnetPaths) bool {
	missed := l.fabric.learn(all)
	if len(missed) > 0 {
		l.outbox.missed(missed)
	}
	return len(missed) == 0
}

func (l *Launcher) disconnected(reason error) {
	l.logger.Warn("connection to the scheduler lost", "reason", reason)
	l.outbox.disconnected()
}

// sample sends statistics until ctx ends.
func (l *Launcher) sample(ctx context.Context) {
	ticker := time.NewTicker(l.config.Statistics)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			l.sendStatistics(ctx)
			l.lookForRoom(ctx)
			l.listen(ctx)
			l.tellChanges(false)
		}
	}
}

// probe fills in what the machine itself tells.
func (c *Config) probe() error {
	if c.Hostname == "" {
		name, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("ask for the host name: %w", err)
		}
		c.Hostname = name
	}
	return c.probeCapacity()
}
