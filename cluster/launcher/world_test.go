package launcher_test

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/launcher"
	"github.com/ciaocloud/ciao/cluster/network"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/cluster/scheduler"
	"github.com/ciaocloud/ciao/ssntp"
	"github.com/ciaocloud/ciao/ssntp/ssntptest"
)

// patience is how long a test waits for what must come, on a machine that has much else to do.
const patience = 3 * time.Minute

// world is a real scheduler on loopback and a scripted controller; launchers come and go.
type world struct {
	testing.TB
	ca         *ssntptest.CA
	address    string
	controller *ssntp.Client

	mu       sync.Mutex
	changed  chan struct{}
	online   bool
	states   map[string]payload.InstanceReport
	history  map[string][]cluster.State
	steps    map[string][]string
	placed   map[string]payload.Decision
	failures map[string]payload.PlacementFailure
	listed   []payload.Inventory // newest last
	operands []ssntp.Operand     // from nodes, in order
	requests []payload.CertificateRequest
	samples  []cluster.NodeStatistics
	traces   []payload.Trace
	full     payload.NodeStatus              // the last Full
	volumes  map[string]payload.VolumeReport // the newest of each
}

func newWorld(t testing.TB) *world {
	w := &world{
		TB: t, ca: ssntptest.NewCA(t), changed: make(chan struct{}),
		states: map[string]payload.InstanceReport{}, history: map[string][]cluster.State{}, steps: map[string][]string{},
		placed: map[string]payload.Decision{}, failures: map[string]payload.PlacementFailure{},
		volumes: map[string]payload.VolumeReport{},
	}
	service, err := scheduler.New(scheduler.Config{
		Server: ssntp.ServerConfig{Certificate: ssntptest.Source(w.ca.Certificate(ssntp.NewID(), ssntp.RoleScheduler)), Roots: w.ca.Roots()},
		Settle: time.Nanosecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.address = listener.Addr().String()
	w.background("scheduler", func(ctx context.Context) error { return service.Run(ctx, listener) })
	w.controller, _ = ssntptest.RunClient(t, w.client(ssntp.NewID(), ssntp.RoleController, w))
	w.eventually("the controller's connection", func() bool { return w.online })
	return w
}

func (w *world) client(id ssntp.ID, roles ssntp.Role, handler ssntp.Handler) ssntp.ClientConfig {
	return ssntp.ClientConfig{
		Addresses: []string{w.address}, Certificate: ssntptest.Source(w.ca.Certificate(id, roles)),
		Roots: w.ca.Roots(), Handler: handler,
	}
}

// background runs something until the returned function, or the end of the test.
func (w *world) background(name string, run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() {
		if err := run(ctx); err != nil {
			w.Errorf("%s: %v", name, err)
		}
	})
	stop = func() {
		cancel()
		group.Wait()
	}
	w.Cleanup(stop)
	return stop
}

// Connected, Disconnected and Receive make the world the controller's handler.
func (w *world) Connected(context.Context, ssntp.Identity, bool) {
	w.change(func() { w.online = true })
}

func (w *world) Disconnected(context.Context, error) {}

func (w *world) Receive(_ context.Context, f ssntp.Frame) {
	w.change(func() { w.take(f) })
}

func (w *world) change(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *world) take(f ssntp.Frame) {
	w.operands = append(w.operands, f.Operand)
	switch f.Operand {
	case ssntp.InstanceState:
		w.note(decode[payload.InstanceReport](w, f))
	case ssntp.Inventory:
		inventory := decode[payload.Inventory](w, f)
		w.listed = append(w.listed, inventory)
		for _, report := range inventory.Instances {
			w.note(report)
		}
	case ssntp.Progress:
		progress := decode[payload.Progress](w, f)
		w.steps[progress.Instance] = append(w.steps[progress.Instance], progress.Step)
	case ssntp.Placed:
		for _, decision := range decode[payload.Placed](w, f).Decisions {
			w.placed[decision.Instance] = decision
		}
	case ssntp.PlacementFailure:
		failure := decode[payload.PlacementFailure](w, f)
		w.failures[failure.Instance] = failure
	case ssntp.CertificateRequest:
		w.requests = append(w.requests, decode[payload.CertificateRequest](w, f))
	case ssntp.TraceReport:
		w.traces = append(w.traces, decode[payload.TraceReport](w, f).Traces...)
	case ssntp.Full:
		w.full = decode[payload.NodeStatus](w, f)
	case ssntp.VolumeState:
		report := decode[payload.VolumeReport](w, f)
		w.volumes[report.Volume] = report
	case ssntp.Statistics:
		w.samples = append(w.samples, decode[payload.Statistics](w, f).Sample)
	}
}

// state is the node's last word on an instance, for a test that is not inside eventually.
func (w *world) state(instance string) payload.InstanceReport {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.states[instance]
}

func (w *world) note(report payload.InstanceReport) {
	w.states[report.Instance] = report
	if states := w.history[report.Instance]; len(states) == 0 || states[len(states)-1] != report.State {
		w.history[report.Instance] = append(states, report.State)
	}
}

func decode[T any](w *world, f ssntp.Frame) T {
	body, err := payload.Decode[T](f.Payload)
	if err != nil {
		w.Errorf("%v: %v", f.Operand, err)
	}
	return body
}

// eventually waits until a condition on what the controller heard holds.
func (w *world) eventually(what string, holds func() bool) {
	w.Helper()
	deadline := time.After(patience)
	for {
		w.mu.Lock()
		held, changed := holds(), w.changed
		w.mu.Unlock()
		if held {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			w.mu.Lock()
			defer w.mu.Unlock()
			if len(w.states) > 50 {
				counts := map[cluster.State]int{}
				for _, report := range w.states {
					counts[report.State]++
				}
				w.Fatalf("waited in vain for %s; states %v; %d failures", what, counts, len(w.failures))
			}
			w.Fatalf("waited in vain for %s; states %+v; history %v; failures %+v", what, w.states, w.history, w.failures)
		}
	}
}

func (w *world) becomes(id string, want cluster.State) payload.InstanceReport {
	w.Helper()
	var report payload.InstanceReport
	w.eventually(id+" to be "+string(want), func() bool {
		report = w.states[id]
		return report.State == want
	})
	return report
}

func (w *world) send(operand ssntp.Operand, to string, body any) {
	w.Helper()
	data, err := payload.Encode(body)
	if err != nil {
		w.Fatal(err)
	}
	var destination ssntp.ID
	if to != "" {
		if destination, err = ssntp.ParseID(to); err != nil {
			w.Fatal(err)
		}
	}
	if err := w.controller.Send(w.Context(), ssntp.Frame{Operand: operand, Destination: destination, Payload: data}); err != nil {
		w.Fatal(err)
	}
}

// fakeNetwork keeps what is wanted of it.
type fakeNetwork struct {
	mu     sync.Mutex
	wanted network.Node
	calls  int
	broken error // of every Apply
}

func (n *fakeNetwork) Apply(_ context.Context, wanted network.Node) (network.NodeFacts, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.calls++
	if n.broken != nil {
		return network.NodeFacts{}, n.broken
	}
	n.wanted = wanted
	return network.NodeFacts{Underlay: netip.MustParseAddr("192.0.2.7"), MTU: 1450}, nil
}

func (n *fakeNetwork) Remove(context.Context) error { return nil }

func (n *fakeNetwork) breaks(why error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.broken = why
}

func (n *fakeNetwork) ports() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.wanted.Ports)
}

// peers are those of the one subnet that is wanted.
func (n *fakeNetwork) peers() []netip.Addr {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.wanted.Subnets) != 1 {
		return nil
	}
	return n.wanted.Subnets[0].Peers
}

// node is one machine; its launcher may be stopped and started again.
type node struct {
	*world
	id      ssntp.ID
	roles   ssntp.Role
	dir     string
	driver  *fileDriver
	drivers []driver.Driver
	network *fakeNetwork
	config  func(*launcher.Config)
	stop    func()
}

func (w *world) node() *node {
	dir := w.TempDir()
	carriers := filepath.Join(dir, "carriers")
	if err := os.Mkdir(carriers, 0o700); err != nil {
		w.Fatal(err)
	}
	d := newFileDriver(carriers)
	return &node{
		world: w, id: ssntp.NewID(), roles: ssntp.RoleAgent | ssntp.RoleNetAgent, dir: dir, driver: d,
		drivers: []driver.Driver{d}, network: &fakeNetwork{}, config: func(*launcher.Config) {},
	}
}

func (n *node) link() *launcher.Link {
	n.Helper()
	link, err := launcher.NewLink(n.client(n.id, n.roles, nil))
	if err != nil {
		n.Fatal(err)
	}
	return link
}

// run starts the launcher and waits until the controller has its inventory.
func (n *node) run() {
	n.Helper()
	n.mu.Lock()
	before := len(n.listed)
	n.mu.Unlock()
	n.runWith(n.link())
	n.eventually("an inventory", func() bool { return len(n.listed) > before })
}

func (n *node) runWith(link *launcher.Link) {
	n.Helper()
	config := launcher.Config{
		Link: link, Directory: filepath.Join(n.dir, "launcher"), Drivers: n.drivers, Network: n.network,
		Hostname: "host-" + n.id.String()[:8], Version: "test",
		Capacity:   cluster.Resources{CPU: 2 * cluster.VCPU, MemoryMiB: 8192, DiskMiB: 1 << 20},
		Statistics: 50 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
	}
	n.config(&config)
	made, err := launcher.New(config)
	if err != nil {
		n.Fatal(err)
	}
	n.stop = n.background("launcher", made.Run)
}

func (n *node) instances() []string {
	n.Helper()
	entries, err := os.ReadDir(launcher.InstancesDirectory(filepath.Join(n.dir, "launcher")))
	if err != nil {
		n.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

var subnet = payload.SubnetPaths{
	ID: "0199f000-0000-7000-8000-00000000000a", Tenant: "t", Key: 7, Prefix: netip.MustParsePrefix("172.16.0.0/16"),
	Gateway: netip.MustParseAddr("172.16.0.1"), Domain: "t.ciao",
}

func newStart(generation uint64) payload.Start {
	id := uuid.New()
	spec := cluster.WorkloadSpec{Kind: cluster.KindContainer, Image: "test", Requirements: cluster.Requirements{VCPUs: cluster.VCPU, MemoryMiB: 128}}
	address := netip.AddrFrom4([4]byte{172, 16, id[14], max(2, id[15])})
	return payload.Start{
		Instance: id.String(), Generation: generation, Name: "n" + id.String()[:8], Tenant: "t", Kind: cluster.KindContainer,
		Spec:    spec.WithDefaults(),
		Network: payload.Attachment{Subnet: subnet, MAC: network.MACOf(address).String(), Addresses: []netip.Addr{address}},
	}
}

func request(s payload.Start) payload.PlacementRequest {
	return payload.PlacementRequest{
		Instance: s.Instance, Generation: s.Generation, Tenant: s.Tenant, Kind: s.Kind, Role: cluster.Compute,
		Resources: s.Spec.Requirements.Resources(),
	}
}

// ready waits for the node's first Ready, as the scheduler then has had it too.
func (n *node) ready() {
	n.Helper()
	n.eventually("a Ready", func() bool {
		for _, operand := range n.operands {
			if operand == ssntp.Ready {
				return true
			}
		}
		return false
	})
}

// roomy gives a node room for thousands.
func roomy(c *launcher.Config) {
	c.Capacity = cluster.Resources{CPU: 1000 * cluster.VCPU, MemoryMiB: 1 << 20}
}
