package launcher_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/launcher"
	"github.com/ciaocloud/ciao/cluster/network"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/cluster/storage/local"
	"github.com/ciaocloud/ciao/ssntp"
	"github.com/ciaocloud/ciao/ssntp/certs"
)

// childDirectory and childAddress turn the test binary into a launcher.
const (
	childDirectory = "CIAO_TEST_LAUNCHER_DIRECTORY"
	childAddress   = "CIAO_TEST_LAUNCHER_ADDRESS"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDirectory); dir != "" {
		if err := child(dir, os.Getenv(childAddress)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// child is a launcher on a slow and unreliable engine.
func child(dir, address string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	roots, err := certs.LoadPool(filepath.Join(dir, "ca.pem"))
	if err != nil {
		return err
	}
	link, err := launcher.NewLink(ssntp.ClientConfig{
		Addresses: []string{address}, Certificate: certs.Source(filepath.Join(dir, "node.pem"), filepath.Join(dir, "key.pem"), nil), Roots: roots,
	})
	if err != nil {
		return err
	}
	d := newFileDriver(filepath.Join(dir, "carriers"))
	d.flaky, d.pace = 0.05, 3*time.Millisecond
	volumes, err := local.Open(filepath.Join(dir, "volumes"))
	if err != nil {
		return err
	}
	made, err := launcher.New(launcher.Config{
		Storage: volumes,
		Link:    link, Directory: filepath.Join(dir, "launcher"), Drivers: []driver.Driver{d}, Network: &fileNetwork{file: filepath.Join(dir, "ports")},
		Hostname: "child", Capacity: cluster.Resources{CPU: 2 * cluster.VCPU, MemoryMiB: 1 << 20},
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	if err != nil {
		return err
	}
	return made.Run(ctx)
}

// fileNetwork keeps the wanted ports in a file, as the kernel keeps links.
type fileNetwork struct {
	fakeNetwork
	file string
}

func (n *fileNetwork) Apply(ctx context.Context, wanted network.Node) (network.NodeFacts, error) {
	var ports []string
	for _, port := range wanted.Ports {
		ports = append(ports, port.Instance)
	}
	data, err := json.Marshal(ports)
	if err == nil {
		err = os.WriteFile(n.file+".new", data, 0o600)
	}
	if err == nil {
		err = os.Rename(n.file+".new", n.file) // seen whole or not at all, as links are
	}
	if err != nil {
		return network.NodeFacts{}, err
	}
	return n.fakeNetwork.Apply(ctx, wanted)
}

// mortal is a launcher in a process of its own.
type mortal struct {
	*node
	process *exec.Cmd
}

func (w *world) mortal() *mortal {
	m := &mortal{node: w.node()}
	pair, err := w.ca.Authority().Issue(certs.Node(m.id, m.roles))
	if err == nil {
		err = pair.Save(filepath.Join(m.dir, "node.pem"), filepath.Join(m.dir, "key.pem"))
	}
	if err == nil {
		err = w.ca.Authority().Save(filepath.Join(m.dir, "ca.pem"), filepath.Join(m.dir, "ca-key.pem"))
	}
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { m.kill() })
	return m
}

func (m *mortal) live() {
	m.process = exec.Command(os.Args[0])
	m.process.Env = append(os.Environ(), childDirectory+"="+m.dir, childAddress+"="+m.address)
	m.process.Stderr = os.Stderr
	if err := m.process.Start(); err != nil {
		m.Fatal(err)
	}
}

func (m *mortal) kill() {
	if m.process != nil {
		m.process.Process.Kill()
		m.process.Wait()
		m.process = nil
	}
}

// desire is what the controller wants of one instance.
type desire struct {
	payload.Start
	want cluster.Desired
}

func (d desire) send(m *mortal) {
	switch d.want {
	case cluster.WantActive:
		m.send(ssntp.Start, m.id.String(), d.Start)
	case cluster.WantStopped:
		m.send(ssntp.Stop, m.id.String(), payload.Stop{Instance: d.Instance, Generation: d.Generation})
	case cluster.WantDeleted:
		m.send(ssntp.Delete, m.id.String(), payload.Delete{Instance: d.Instance, Generation: d.Generation})
	}
}

func (d desire) reached(r payload.InstanceReport) bool {
	switch d.want {
	case cluster.WantActive:
		return r.State == cluster.Active && r.Generation == d.Generation
	case cluster.WantStopped:
		return r.State == cluster.Stopped || r.State == cluster.Gone // of a start that never arrived
	}
	return r.State == cluster.Gone
}

// change picks another wish: forward within a generation, or a start of the next.
func (d *desire) change(random *rand.Rand) {
	switch {
	case d.want == cluster.WantDeleted:
	case d.want == cluster.WantActive && random.IntN(3) > 0:
		d.want = cluster.WantStopped
	case random.IntN(30) == 0:
		d.want = cluster.WantDeleted
	default:
		d.want = cluster.WantActive
		d.Generation++
	}
}

// Whatever the moment at which the launcher is killed, its successor brings everything to what the controller wants.
func TestKilledAtAnyMoment(t *testing.T) {
	rounds := 40
	if testing.Short() {
		rounds = 8
	}
	w := newWorld(t)
	m := w.mortal()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	desires := make([]desire, 24)
	for i := range desires {
		desires[i] = desire{newStart(1), cluster.WantActive}
	}
	for range rounds {
		heard := m.inventories()
		m.live()
		w.eventually("an inventory", func() bool { return len(w.listed) > heard })
		for i := range desires {
			desires[i].send(m)
			if random.IntN(3) == 0 {
				desires[i].change(random)
				desires[i].send(m)
			}
		}
		m.breathe(time.Duration(random.IntN(120)) * time.Millisecond)
		m.kill()
	}
	heard := m.inventories()
	m.live()
	w.eventually("the last inventory", func() bool { return len(w.listed) > heard })
	for i := range desires {
		desires[i].send(m)
	}
	w.eventually("everything as wanted", func() bool {
		return !slices.ContainsFunc(desires, func(d desire) bool { return !d.reached(w.states[d.Instance]) })
	})
	m.check(desires)
}

func (m *mortal) inventories() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.listed)
}

// breathe lets the launcher work for a while before it is killed: no condition is waited for, any moment is as good.
func (m *mortal) breathe(d time.Duration) {
	select {
	case <-time.After(d):
	case <-m.Context().Done():
	}
}

// check compares carriers, directories and ports with what is wanted.
func (m *mortal) check(desires []desire) {
	m.Helper()
	var wantRunning, wantThere []string
	for _, d := range desires {
		m.mu.Lock()
		state := m.states[d.Instance].State
		m.mu.Unlock()
		if state == cluster.Active {
			wantRunning = append(wantRunning, fmt.Sprintf("%s generation %d", d.Instance, d.Generation))
		}
		if state != cluster.Gone {
			wantThere = append(wantThere, d.Instance)
		}
	}
	var running, carriers []string
	for _, status := range m.driver.all() {
		carriers = append(carriers, status.ID)
		if status.Condition == driver.Running {
			running = append(running, fmt.Sprintf("%s generation %d", status.ID, status.Generation))
		}
	}
	var ports []string
	data, err := os.ReadFile(filepath.Join(m.dir, "ports"))
	if err == nil {
		err = json.Unmarshal(data, &ports)
	}
	if err != nil {
		m.Error(err)
	}
	slices.Sort(wantRunning)
	slices.Sort(running)
	slices.Sort(wantThere)
	slices.Sort(carriers)
	if diff := cmp.Diff(wantRunning, running); diff != "" {
		m.Errorf("running carriers (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(wantThere, m.instances()); diff != "" {
		m.Errorf("directories (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(wantThere, ports); diff != "" {
		m.Errorf("ports (-want +got):\n%s", diff)
	}
	for _, id := range carriers {
		if !slices.Contains(wantThere, id) {
			m.Errorf("carrier %s belongs to nobody", id)
		}
	}
	m.Logf("%d running, %d there, of %d", len(running), len(wantThere), len(desires))
}
