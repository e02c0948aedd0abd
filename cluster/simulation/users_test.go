package simulation

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/controller"
	"github.com/ciaocloud/ciao/cluster/store/backup"
)

// users are two tenants and the operator, who remember what they were promised. A request without an answer may or may not have been
// done.
type users struct {
	*fleet
	random  *rand.Rand
	tenants []string
	wishes  map[string]*wish // by instance
	doubts  []doubt
	counts  map[string]int // of requests, by kind and outcome
}

// wish is what may be wanted of an instance: one thing, or several while an answer is missing.
type wish struct {
	tenant string
	may    map[cluster.Desired]bool
}

// doubt is a create without an answer: all of its instances are there, or none.
type doubt struct {
	tenant, stem string
	count        int
}

const maxWishes = 16

// newUsers makes the tenants, of whom one has a quota that they meet, and their workload.
func newUsers(f *fleet, random *rand.Rand) *users {
	u := &users{fleet: f, random: random, wishes: map[string]*wish{}, counts: map[string]int{}}
	p, err := f.controller()
	if err != nil {
		f.t.Fatal(err)
	}
	_, err = p.CreateWorkload(f.ctx, controller.Operator, controller.WorkloadRequest{Name: workload, Spec: cluster.WorkloadSpec{
		Kind: cluster.KindContainer, Image: "none", Requirements: cluster.Requirements{VCPUs: size.CPU, MemoryMiB: size.MemoryMiB},
	}})
	if err != nil {
		f.t.Fatal(err)
	}
	few := cluster.NoQuota()
	few.Instances = 7
	for _, request := range []controller.TenantRequest{{Name: "red"}, {Name: "blue", Quota: &few}} {
		tenant, err := p.CreateTenant(f.ctx, request)
		if err != nil {
			f.t.Fatal(err)
		}
		u.tenants = append(u.tenants, tenant.ID)
	}
	return u
}

// ask makes a request and says whether it was answered, and how. Only those refusals are expected that the state of things explains.
func (u *users) ask(what string, request func(ctx context.Context, p *presence) error) (done, answered bool) {
	p, err := u.controller()
	if err == nil {
		ctx, cancel := context.WithTimeout(u.ctx, 5*time.Second)
		defer cancel()
		err = request(ctx, p)
	}
	for _, class := range []error{
		cluster.ErrUnavailable, cluster.ErrTimeout, cluster.ErrConflict, cluster.ErrNotFound, cluster.ErrOverQuota, cluster.ErrNoCapacity,
	} {
		if errors.Is(err, class) {
			u.counts[what+" ("+class.Error()+")"]++
			return false, class != cluster.ErrUnavailable && class != cluster.ErrTimeout
		}
	}
	if err != nil {
		u.t.Errorf("%s: %v", what, err)
		return false, true
	}
	u.counts[what]++
	return true, true
}

// act makes one request by chance.
func (u *users) act(stem string) {
	switch kind := u.random.IntN(14); {
	case kind < 5 && len(u.wishes) < maxWishes:
		u.create(stem)
	case kind < 7:
		u.change("delete", cluster.WantDeleted, (*controller.Controller).DeleteInstance)
	case kind < 9:
		u.change("stop", cluster.WantStopped, (*controller.Controller).StopInstance)
	case kind < 11:
		u.change("start", cluster.WantActive, (*controller.Controller).StartInstance)
	case kind == 11:
		u.ask("evacuate", func(ctx context.Context, p *presence) error {
			_, err := p.EvacuateNode(ctx, u.machines[u.random.IntN(len(u.machines)-1)].id.String(), false)
			return err
		})
	case kind == 12:
		u.ask("restore", func(ctx context.Context, p *presence) error {
			_, err := p.RestoreNode(ctx, u.machines[u.random.IntN(len(u.machines))].id.String())
			return err
		})
	default:
		u.ask("backup", u.backup)
	}
}

func (u *users) create(stem string) {
	tenant, count := u.tenants[u.random.IntN(len(u.tenants))], 1+u.random.IntN(3)
	var created []cluster.Instance
	done, answered := u.ask("create", func(ctx context.Context, p *presence) (err error) {
		created, err = p.CreateInstances(ctx, tenant, controller.InstanceRequest{Workload: workload, Count: count, Name: stem})
		return err
	})
	switch {
	case done:
		for _, i := range created {
			u.wishes[i.ID] = &wish{tenant, map[cluster.Desired]bool{cluster.WantActive: true}}
		}
	case !answered:
		u.doubts = append(u.doubts, doubt{tenant, stem, count})
	}
}

// change wants something of an instance.
func (u *users) change(what string, wanted cluster.Desired,
	request func(*controller.Controller, context.Context, string, string) (cluster.Instance, error)) {
	if len(u.wishes) == 0 {
		return
	}
	ids := slices.Sorted(maps.Keys(u.wishes))
	id := ids[u.random.IntN(len(ids))]
	w := u.wishes[id]
	done, answered := u.ask(what, func(ctx context.Context, p *presence) error {
		_, err := request(p.Controller, ctx, w.tenant, id)
		return err
	})
	switch {
	case done:
		clear(w.may)
		w.may[wanted] = true
	case !answered:
		w.may[wanted] = true
	}
}

// backup writes the store as it is now, reads it back, and looks whether its books agree.
func (u *users) backup(ctx context.Context, p *presence) error {
	write, err := backup.Begin(ctx, "chaos", p.db)
	if err != nil {
		return err
	}
	var file bytes.Buffer
	if err := write(&file); err != nil {
		return err
	}
	r, err := backup.NewReader(&file)
	if err != nil {
		return err
	}
	l, err := readLedger(r.Rows())
	if err != nil {
		return err
	}
	u.must("the books in a backup", l.check())
	return nil
}

// insist repeats a request until it is done.
func (u *users) insist(what string, request func(ctx context.Context, p *presence) error) {
	u.t.Helper()
	ctx, cancel := context.WithTimeout(u.ctx, u.tolerance)
	defer cancel()
	err := await(ctx, func() (bool, error) { done, _ := u.ask(what, request); return done, nil })
	if err != nil {
		u.t.Fatalf("%s is never done: %v", what, err)
	}
}

func (u *users) restoreNodes() {
	for _, m := range u.machines {
		u.insist("restore", func(ctx context.Context, p *presence) error { _, err := p.RestoreNode(ctx, m.id.String()); return err })
	}
}

func (u *users) deleteAll() {
	u.insist("delete all", func(ctx context.Context, p *presence) error {
		_, err := p.DeleteInstances(ctx, controller.Operator, controller.InstanceFilter{})
		return err
	})
}

// compare looks whether there is what should be and nothing else, and ends all doubts.
func (u *users) compare() {
	u.t.Helper()
	l, err := u.ledger()
	if err != nil {
		u.t.Fatal(err)
	}
	found := map[string]cluster.Instance{}
	for i := range l.visible {
		found[i.ID] = i
	}
	for _, d := range u.doubts {
		u.resolve(d, found)
	}
	u.doubts = nil
	for id, w := range u.wishes {
		i, there := found[id]
		switch {
		case !there && !w.may[cluster.WantDeleted]:
			u.t.Errorf("instance %s is lost; it should be one of %v", id, w.may)
		case !there:
			delete(u.wishes, id)
		case !w.may[i.Desired]:
			u.t.Errorf("instance %s is wanted %s and should be one of %v", i.Name, i.Desired, w.may)
		default:
			clear(w.may)
			w.may[i.Desired] = true
		}
		delete(found, id)
	}
	for _, i := range found {
		u.t.Errorf("nobody wanted instance %s", i.Name)
	}
}

// resolve finds out what became of a create.
func (u *users) resolve(d doubt, found map[string]cluster.Instance) {
	batch := cluster.Batch{Template: cluster.Instance{Name: d.stem}, Count: d.count}
	there := 0
	for n := range d.count {
		for id, i := range found {
			if i.Tenant == d.tenant && i.Name == batch.InstanceName(n) {
				there++
				u.wishes[id] = &wish{d.tenant, map[cluster.Desired]bool{cluster.WantActive: true}}
			}
		}
	}
	if there != 0 && there != d.count {
		u.t.Errorf("of %s %d of %d are there: %s", d.stem, there, d.count, fmt.Sprint(d))
	}
}
