package simulation

import (
	"bytes"
	"context"
	"math/rand/v2"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/chaostest"
	"github.com/ciaocloud/ciao/cluster/controller"
	"github.com/ciaocloud/ciao/cluster/store/backup"
)

// users are two tenants and the operator, who remember what they were promised.
type users struct {
	*fleet
	random  *rand.Rand
	tenants []string
	wishes  *chaostest.Wishes
	counts  map[string]int // of requests, by kind and outcome
}

const maxWishes = 16

// newUsers makes the tenants, of whom one has a quota that they meet, and their workload.
func newUsers(f *fleet, random *rand.Rand) *users {
	u := &users{fleet: f, random: random, wishes: chaostest.NewWishes(), counts: map[string]int{}}
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

// ask makes a request and says what became of it. Only those refusals are expected that the state of things explains.
func (u *users) ask(what string, request func(ctx context.Context, p *presence) error) chaostest.Outcome {
	p, err := u.controller()
	if err == nil {
		ctx, cancel := context.WithTimeout(u.ctx, 5*time.Second)
		defer cancel()
		err = request(ctx, p)
	}
	outcome, class := chaostest.OutcomeOf(err)
	switch outcome {
	case chaostest.Done:
		u.counts[what]++
	case chaostest.Wrong:
		u.t.Errorf("%s: %v", what, err)
	default:
		u.counts[what+" ("+class.Error()+")"]++
	}
	return outcome
}

// act makes one request by chance.
func (u *users) act(stem string) {
	switch kind := u.random.IntN(14); {
	case kind < 5 && len(u.wishes.Instances()) < maxWishes:
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
	switch u.ask("create", func(ctx context.Context, p *presence) (err error) {
		created, err = p.CreateInstances(ctx, tenant, controller.InstanceRequest{Workload: workload, Count: count, Name: stem})
		return err
	}) {
	case chaostest.Done:
		for _, i := range created {
			u.wishes.Created(tenant, i.ID)
		}
	case chaostest.Unknown:
		u.wishes.Doubt(tenant, stem, count)
	}
}

// change wants something of an instance.
func (u *users) change(what string, wanted cluster.Desired,
	request func(*controller.Controller, context.Context, string, string) (cluster.Instance, error)) {
	ids := u.wishes.Instances()
	if len(ids) == 0 {
		return
	}
	id := ids[u.random.IntN(len(ids))]
	u.wishes.Changed(id, wanted, u.ask(what, func(ctx context.Context, p *presence) error {
		_, err := request(p.Controller, ctx, u.wishes.Tenant(id), id)
		return err
	}))
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
	l, err := chaostest.ReadLedger(r.Rows())
	if err != nil {
		return err
	}
	u.must("the books in a backup", l.Check())
	return nil
}

// insist repeats a request until it is done.
func (u *users) insist(what string, request func(ctx context.Context, p *presence) error) {
	u.t.Helper()
	ctx, cancel := context.WithTimeout(u.ctx, u.tolerance)
	defer cancel()
	err := await(ctx, func() (bool, error) { return u.ask(what, request) == chaostest.Done, nil })
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
	for i := range l.Visible {
		found[i.ID] = i
	}
	u.must("compared with what was promised", u.wishes.Compare(found))
}
