package simulation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/chaostest"
	"github.com/ciaocloud/ciao/cluster/controller"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/driver/simulate"
	"github.com/ciaocloud/ciao/cluster/launcher"
	"github.com/ciaocloud/ciao/cluster/scheduler"
	"github.com/ciaocloud/ciao/cluster/store"
	"github.com/ciaocloud/ciao/cluster/store/memstore"
	"github.com/ciaocloud/ciao/ssntp"
)

// fleet is a cluster whose every part can be killed and started again.
type fleet struct {
	*simulation
	t       *testing.T
	ctx     context.Context // of all parts
	rows    *memstore.Memory
	history *chaostest.History

	hub       *daemon       // the scheduler
	address   atomic.Value  // its, a string
	leader    ssntp.ID      // the controller's identity
	wire      *wire         // the controller's
	machines  []*machine    // network nodes first
	mu        sync.Mutex    // guards present
	present   *presence     // nil while the controller is dead
	steering  *daemon       // the controller
	tolerance time.Duration // how long everything may take to be as wanted
}

// presence is a living controller.
type presence struct {
	*controller.Controller
	db      *store.DB
	backend *mortal
}

// daemon is a part that runs.
type daemon struct {
	cancel context.CancelFunc
	group  errgroup.Group
}

func startDaemon(ctx context.Context, parts ...func(context.Context) error) *daemon {
	ctx, cancel := context.WithCancel(ctx)
	d := &daemon{cancel: cancel}
	for _, run := range parts {
		d.group.Go(func() error { return run(ctx) })
	}
	return d
}

func (d *daemon) end() error {
	d.cancel()
	return d.group.Wait()
}

// mortal is a backend that a controller's death parts from it: the first commit after that is done and nobody learns of it, the
// others are not done.
type mortal struct {
	store.Backend
	dead, last atomic.Bool
}

// Commit implements store.Backend.
func (m *mortal) Commit(ctx context.Context, c store.Commit) (store.Revision, error) {
	if !m.dead.Load() {
		return m.Backend.Commit(ctx, c)
	}
	if m.last.CompareAndSwap(false, true) {
		_, _ = m.Backend.Commit(context.WithoutCancel(ctx), c)
	}
	return 0, fmt.Errorf("%w: the controller was killed", store.ErrUnavailable)
}

// machine is a node: its engine lives when its launcher is killed.
type machine struct {
	number   int
	id       ssntp.ID
	roles    ssntp.Role
	wire     *wire
	underlay netip.Addr
	engine   *simulate.Engine
	driver   driver.Driver
	agents   *concentrators // of a network node
	launcher *daemon
}

func (m *machine) String() string { return fmt.Sprintf("node-%d", m.number) }

func newFleet(t *testing.T, networkNodes, computeNodes int, seed uint64) *fleet {
	t.Helper()
	authority, err := newAuthority()
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(context.Background())
	f := &fleet{t: t, ctx: ctx, rows: memstore.New(), history: chaostest.NewHistory(), leader: ssntp.NewID(), tolerance: time.Minute}
	f.simulation = &simulation{
		config: Config{TimeScale: 0.2, Seed: seed}.withDefaults(), logger: chaosLogger(), underlay: &addresses{}, authority: authority,
		volatile: t.TempDir(), parts: &errgroup.Group{}, scheduler: loopback + ":1", // a wire knows better
	}
	f.address.Store("")
	f.wire = newWire(f.whereScheduler)
	t.Cleanup(func() { f.close(end) })
	f.startScheduler()
	f.startController()
	for n := range networkNodes + computeNodes {
		roles := ssntp.RoleAgent
		if n < networkNodes {
			roles = ssntp.RoleNetAgent
		}
		m := &machine{number: n, id: ssntp.NewID(), roles: roles, wire: newWire(f.whereScheduler), underlay: f.underlay.next()}
		f.equip(m)
		f.machines = append(f.machines, m)
		f.startLauncher(m)
	}
	return f
}

// chaosLogger logs to a file when one is named, for whoever looks for the cause of a failure.
func chaosLogger() *slog.Logger {
	file, err := os.Create(os.Getenv("CIAO_CHAOS_LOG"))
	if err != nil {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(file, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (f *fleet) whereScheduler() string { return f.address.Load().(string) }

// close ends everything that runs.
func (f *fleet) close(end context.CancelFunc) {
	for _, m := range f.machines {
		m.wire.cut(true)
		m.engine.Thaw()
	}
	f.killController()
	end()
	for _, m := range f.machines {
		if m.launcher != nil {
			f.must("launcher of "+m.String(), m.launcher.end())
		}
	}
	f.must("scheduler", f.hub.end())
	f.must("agents of CNCIs", f.parts.Wait())
}

func (f *fleet) must(what string, err error) {
	f.t.Helper()
	if err != nil {
		f.t.Errorf("%s: %v", what, err)
	}
}

// equip gives a machine an empty engine.
func (f *fleet) equip(m *machine) {
	settings := simulate.Config{
		Seed: f.config.Seed, Changed: func(s driver.Status) { f.history.Note(m.String(), s) },
		Takes: map[simulate.Step]simulate.Range{ // ends are slow, so that who does not wait for them is seen
			simulate.Create: {Max: 30 * time.Millisecond}, simulate.Start: {Max: 30 * time.Millisecond},
			simulate.Stop: {Max: 300 * time.Millisecond}, simulate.Delete: {Max: 200 * time.Millisecond},
		},
	}
	if m.roles == ssntp.RoleNetAgent {
		settings.Kind = cluster.KindCNCI
	}
	m.engine = simulate.NewEngine(settings)
	made := simulate.New(m.engine)
	m.driver = made
	if m.roles == ssntp.RoleNetAgent {
		directory := filepath.Join(f.volatile, m.String(), "cnci")
		m.agents = &concentrators{Driver: made, agents: map[string]func(){}, run: func(id string) (func(), error) {
			return f.startAgent(f.ctx, directory, id, m.wire.dial)
		}}
		m.driver = m.agents
	}
}

func (f *fleet) startLauncher(m *machine) {
	f.t.Helper()
	settings, err := f.link(m.id, m.roles, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	settings.Dial = m.wire.dial
	made, err := f.newLauncher(settings, m.number, 40, m.underlay, m.driver)
	if err != nil {
		f.t.Fatal(err)
	}
	m.launcher = startDaemon(f.ctx, made.Run)
}

// directory is where a machine's launcher keeps its records.
func (f *fleet) directory(m *machine) string { return filepath.Join(f.volatile, fmt.Sprint(m.number)) }

// killLauncher ends a launcher as a kill does, as far as one process can: nobody hears a farewell.
func (f *fleet) killLauncher(m *machine) {
	m.wire.cut(m.roles == ssntp.RoleAgent) // the agents of CNCIs live and dial again
	f.must("launcher of "+m.String(), m.launcher.end())
	m.launcher = nil
}

func (f *fleet) startScheduler() {
	f.t.Helper()
	certificate, err := f.source(ssntp.NewID(), ssntp.RoleScheduler, loopback)
	if err != nil {
		f.t.Fatal(err)
	}
	service, err := scheduler.New(scheduler.Config{
		Server:      ssntp.ServerConfig{Certificate: certificate, Roots: f.authority.Pool(), Limits: f.limits(), Logger: f.logger},
		Reservation: 2 * time.Second, Settle: time.Second, Logger: f.logger,
	})
	if err != nil {
		f.t.Fatal(err)
	}
	listener, err := listen(f.ctx)
	if err != nil {
		f.t.Fatal(err)
	}
	f.hub = startDaemon(f.ctx, func(ctx context.Context) error { return service.Run(ctx, listener) })
	f.address.Store(listener.Addr().String())
}

func (f *fleet) killScheduler() {
	f.address.Store("")
	for _, w := range f.wires() {
		w.cut(false)
	}
	f.must("scheduler", f.hub.end())
}

func (f *fleet) wires() []*wire {
	all := []*wire{f.wire}
	for _, m := range f.machines {
		all = append(all, m.wire)
	}
	return all
}

func (f *fleet) startController() {
	f.t.Helper()
	p := &presence{backend: &mortal{Backend: f.rows.Backend()}}
	var err error
	if p.db, err = store.Open(f.ctx, p.backend, controller.Schema(), f.logger); err != nil {
		f.t.Fatal(err)
	}
	p.Controller, err = controller.New(controller.Config{Store: p.db, Logger: f.logger, Timing: controller.Timing{
		Answer: 300 * time.Millisecond, Poll: 500 * time.Millisecond, PlaceAgain: 100 * time.Millisecond, Queue: time.Hour,
		NodeGrace: 700 * time.Millisecond, Network: time.Hour, CNCIIdle: time.Second, CNCIRestart: 100 * time.Millisecond,
		Refresh: 2 * time.Second, Settle: 20 * time.Millisecond,
	}})
	if err != nil {
		f.t.Fatal(err)
	}
	settings, err := f.link(f.leader, ssntp.RoleController, p)
	if err != nil {
		f.t.Fatal(err)
	}
	settings.Dial = f.wire.dial
	link, err := ssntp.NewClient(settings)
	if err != nil {
		f.t.Fatal(err)
	}
	p.Attach(link, nil)
	f.steering = startDaemon(f.ctx, link.Run, p.Run)
	f.mu.Lock()
	f.present = p
	f.mu.Unlock()
}

func (f *fleet) killController() {
	f.mu.Lock()
	p := f.present
	f.present = nil
	f.mu.Unlock()
	if p == nil {
		return
	}
	f.wire.cut(true)
	p.backend.dead.Store(true)
	_ = f.steering.end() // it may have met its dead store
	f.must("store of the killed controller", p.db.Close())
}

// controller is the living one, or cluster.ErrUnavailable.
func (f *fleet) controller() (*presence, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.present == nil {
		return nil, fmt.Errorf("%w: the controller is dead", cluster.ErrUnavailable)
	}
	return f.present, nil
}

// ledger is what the store has now.
func (f *fleet) ledger() (*chaostest.Ledger, error) {
	snapshot, err := f.rows.Backend().Snapshot(f.ctx)
	if err != nil {
		return nil, err
	}
	return chaostest.ReadLedger(snapshot.Rows)
}

// lasting is the state that a wish leads to; what is wanted deleted is not there.
var lasting = map[cluster.Desired]cluster.State{cluster.WantActive: cluster.Active, cluster.WantStopped: cluster.Stopped}

// unsettled says what is not yet as it is wanted: nodes ready, instances as wanted, and on the machines exactly what the store says.
func (f *fleet) unsettled() error {
	l, err := f.ledger()
	if err != nil {
		return err
	}
	problems := []error{}
	for _, m := range f.machines {
		if n := l.Nodes[m.id.String()]; n.State != cluster.NodeReady || n.Evacuated {
			problems = append(problems, fmt.Errorf("%s is %s, evacuated: %t", m, n.State, n.Evacuated))
		}
		problems = append(problems, f.strangers(m, l))
	}
	if len(l.Folded) > 0 {
		problems = append(problems, fmt.Errorf("%d instances are still in batches", len(l.Folded)))
	}
	for _, i := range l.Instances {
		if i.State != lasting[i.Desired] {
			problems = append(problems, fmt.Errorf("%s is %s, wanted %s, generation %d, node %q: %s",
				i.Name, i.State, i.Desired, i.Generation, i.Node, i.Reason))
		}
	}
	return errors.Join(append(problems, f.absentees(l))...)
}

// strangers says what a machine has and should not have.
func (f *fleet) strangers(m *machine, l *chaostest.Ledger) error {
	var problems []error
	here := map[string]cluster.Instance{}
	for _, i := range l.Instances {
		if i.Node == m.id.String() {
			here[i.ID] = i
		}
	}
	for _, s := range f.carriers(m) {
		i, known := here[s.ID]
		switch {
		case !known:
			problems = append(problems, fmt.Errorf("%s has a carrier of %s, which is not recorded there", m, s.ID))
		case (s.Condition == driver.Running) != (i.State == cluster.Active):
			problems = append(problems, fmt.Errorf("%s on %s is %s and recorded as %s", i.Name, m, s.Condition, i.State))
		case s.Condition == driver.Running && s.Generation != i.Generation:
			problems = append(problems, fmt.Errorf("%s on %s runs as generation %d and is recorded as %d", i.Name, m, s.Generation, i.Generation))
		}
	}
	records, err := os.ReadDir(launcher.InstancesDirectory(f.directory(m)))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		problems = append(problems, err)
	}
	for _, entry := range records {
		if _, known := here[entry.Name()]; !known {
			problems = append(problems, fmt.Errorf("%s has a directory of %s, which is not recorded there", m, entry.Name()))
		}
	}
	return errors.Join(problems...)
}

func (f *fleet) carriers(m *machine) []driver.Status {
	ctx, cancel := context.WithTimeout(f.ctx, time.Second)
	defer cancel()
	list, err := simulate.New(m.engine).List(ctx)
	f.must("list the carriers of "+m.String(), err)
	return list
}

// absentees says which active instances do not run, or twice.
func (f *fleet) absentees(l *chaostest.Ledger) error {
	running := map[string]int{}
	for _, m := range f.machines {
		for _, s := range f.carriers(m) {
			if s.Condition == driver.Running {
				running[s.ID]++
			}
		}
	}
	var problems []error
	for _, i := range l.Instances {
		if i.State == cluster.Active && running[i.ID] != 1 {
			problems = append(problems, fmt.Errorf("%s is active and runs %d times", i.Name, running[i.ID]))
		}
	}
	return errors.Join(problems...)
}
