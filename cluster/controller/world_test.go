package controller

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/store"
	"github.com/ciaocloud/ciao/cluster/store/memstore"
)

// world is a controller with its store and a scripted cluster, in a synctest bubble.
type world struct {
	t      *testing.T
	ctx    context.Context
	memory *memstore.Memory
	db     *store.DB
	c      *Controller
	fake   *fakeCluster
	timing Timing
	disks  cluster.Storage
	stop   func()
	done   chan error
	tenant cluster.Tenant
	killed chan struct{} // the controller is to be replaced
}

// inWorld runs a story in a bubble and checks afterwards what must always hold.
func inWorld(t *testing.T, story func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.open(w.memory.Backend())
		w.lead()
		w.fake.addNode(1)
		w.prepare()
		story(w)
		w.check()
		w.close()
	})
}

func newWorld(t *testing.T) *world {
	ctx, cancel := context.WithCancel(t.Context())
	w := &world{t: t, ctx: ctx, memory: memstore.New(), fake: newFakeCluster(ctx), killed: make(chan struct{}, 1)}
	t.Cleanup(func() { // of a story that failed halfway
		cancel()
		if w.db != nil {
			w.db.Close()
		}
	})
	return w
}

func (w *world) open(backend store.Backend) {
	w.t.Helper()
	db, err := store.Open(w.ctx, backend, Schema(), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	w.db = db
	if w.c, err = New(Config{Store: db, Timing: w.timing, Address: "controller:8889", Disks: w.disks}); err != nil {
		w.t.Fatal(err)
	}
}

// lead starts the controller.
func (w *world) lead() {
	ctx, cancel := context.WithCancel(w.ctx)
	w.done = make(chan error, 1)
	w.stop = cancel
	c, done := w.c, w.done
	c.Attach(w.fake, fakeIssuer{})
	go func() { done <- c.Run(ctx) }()
	for c.leader.Load() == nil {
		time.Sleep(time.Millisecond)
	}
	w.fake.attach(c)
}

// halt ends the controller and its store, as a kill would: nothing of it remains.
func (w *world) halt() {
	w.stop()
	<-w.done
	w.db.Close()
}

func (w *world) restart() {
	w.t.Helper()
	w.halt()
	w.open(w.memory.Backend())
	w.lead()
}

func (w *world) close() {
	w.halt()
	for _, problem := range w.fake.problems {
		w.t.Error(problem)
	}
}

// succeed starts the successor of a controller that was killed.
func (w *world) succeed() {
	w.t.Helper()
	select {
	case <-w.killed:
		w.restart()
	default:
	}
}

// prepare makes a tenant with a workload.
func (w *world) prepare() {
	w.t.Helper()
	w.tenant = w.addTenant("red")
	if _, err := w.c.CreateWorkload(w.ctx, Operator, WorkloadRequest{Name: "web", Spec: containerSpec()}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) addTenant(name string) cluster.Tenant {
	w.t.Helper()
	tenant, err := w.c.CreateTenant(w.ctx, TenantRequest{Name: name})
	if err != nil {
		w.t.Fatal(err)
	}
	return tenant
}

func containerSpec() cluster.WorkloadSpec {
	return cluster.WorkloadSpec{
		Kind: cluster.KindContainer, Image: "busybox:latest", Requirements: cluster.Requirements{VCPUs: 500, MemoryMiB: 64},
	}
}

func (w *world) create(count int, name string) []cluster.Instance {
	w.t.Helper()
	created, err := w.c.CreateInstances(w.ctx, w.tenant.ID, InstanceRequest{Workload: "web", Count: count, Name: name})
	if err != nil {
		w.t.Fatal(err)
	}
	if len(created) != count {
		w.t.Fatalf("the answer has %d instances, want %d", len(created), count)
	}
	return created
}

func (w *world) instances() []cluster.Instance {
	w.t.Helper()
	list, _, err := w.c.Instances(w.ctx, Operator, InstanceFilter{})
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

func (w *world) instance(ref string) cluster.Instance {
	w.t.Helper()
	i, err := w.c.Instance(w.ctx, w.tenant.ID, ref)
	if err != nil {
		w.t.Fatal(err)
	}
	return i
}

func (w *world) count(state cluster.State) (n int) {
	for _, i := range w.instances() {
		if i.State == state {
			n++
		}
	}
	return n
}

// until waits, in the bubble's time, for a condition.
func (w *world) until(what string, holds func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(20 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		synctest.Wait()
		w.succeed()
		if holds() {
			return
		}
		if time.Now().After(deadline) {
			for _, i := range w.instances() {
				w.t.Logf("%s %s wants %s, generation %d, node %q: %s", i.Name, i.State, i.Desired, i.Generation, i.Node, i.Reason)
			}
			if cncis, err := w.c.CNCIs(w.ctx, Operator); err == nil {
				w.t.Logf("CNCIs: %+v", cncis)
			}
			w.fake.with(func() { w.t.Log(strings.Join(w.fake.seen[max(0, len(w.fake.seen)-40):], " ")) })
			w.t.Fatalf("not reached: %s", what)
		}
	}
}

func (w *world) untilState(state cluster.State, n int) {
	w.t.Helper()
	w.until(string(state), func() bool { return w.count(state) == n })
}

func (w *world) untilGone() {
	w.t.Helper()
	w.until("all instances gone", func() bool { return len(w.instances()) == 0 })
}

// check compares the reservations with the instances.
func (w *world) check() {
	w.t.Helper()
	err := w.db.View(w.ctx, func(r store.Reader) error {
		for tenant := range tenants.All(r) {
			checkTenant(w.t, r, tenant)
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func checkTenant(t *testing.T, r store.Reader, tenant cluster.Tenant) {
	t.Helper()
	var sum cluster.Usage
	names := map[string]bool{}
	addresses := map[string]int{}
	for i := range visible(r, tenant.ID) {
		sum.Instances++
		sum.CPU += i.Spec.Requirements.VCPUs
		sum.MemoryMiB += i.Spec.Requirements.MemoryMiB
		if names[i.Name] {
			t.Errorf("two instances of tenant %s are named %s", tenant.Name, i.Name)
		}
		names[i.Name] = true
		addresses[i.Subnet]++
	}
	for range externalIPs.By(r, byTenant, tenant.ID) {
		sum.ExternalIPs++
	}
	for v := range volumes.By(r, byTenant, tenant.ID) {
		sum.Volumes++
		sum.DiskMiB += v.SizeMiB
	}
	if row, err := usages.Get(r, tenant.ID); err != nil || row.Usage != sum {
		t.Errorf("tenant %s: usage is %+v (%v), its instances make %+v", tenant.Name, row.Usage, err, sum)
	}
	own := slices.Collect(subnets.By(r, byTenant, tenant.ID))
	for _, subnet := range own {
		used := 0
		for _, a := range subnet.Allocated {
			used += a.Len()
		}
		if used != addresses[subnet.ID] {
			t.Errorf("subnet %s has %d addresses in use and %d instances", subnet.Prefix, used, addresses[subnet.ID])
		}
		for _, other := range own {
			if other.ID != subnet.ID && other.Prefix.Overlaps(subnet.Prefix) {
				t.Errorf("subnets %s and %s overlap", subnet.Prefix, other.Prefix)
			}
		}
	}
}

// reader is a snapshot of the store.
func reader(w *world) (snapshot store.Reader) {
	w.t.Helper()
	if err := w.db.View(w.ctx, func(r store.Reader) error { snapshot = r; return nil }); err != nil {
		w.t.Fatal(err)
	}
	return snapshot
}
