package controller

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/ssntp"
)

// inOffice runs use cases on a controller that does not lead: nothing happens to what they record.
func inOffice(t *testing.T, do func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.open(w.memory.Backend())
		w.prepare()
		do(w)
		w.check()
		w.db.Close()
	})
}

func TestQuotaRefusalLeavesNothing(t *testing.T) {
	tests := []struct {
		name   string
		update func(*QuotaUpdate, *cluster.Limit)
		limit  cluster.Limit
		quota  string
	}{
		{"instances", func(u *QuotaUpdate, l *cluster.Limit) { u.Instances = l }, 4, "quota instances: the limit is 4, in use are 2, asked for were 3 more"},
		{"vCPUs", func(u *QuotaUpdate, l *cluster.Limit) { u.VCPUs = l }, 2, "quota vcpus: the limit is 2, in use are 1, asked for were 1.5 more"},
		{"memory", func(u *QuotaUpdate, l *cluster.Limit) { u.MemoryMiB = l }, 300, "quota memory_mib: the limit is 300, in use are 128, asked for were 192 more"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			inOffice(t, func(w *world) {
				w.create(2, "web")
				var update QuotaUpdate
				test.update(&update, &test.limit)
				if _, _, _, err := w.c.UpdateQuota(w.ctx, "red", update, 0); err != nil {
					t.Fatal(err)
				}
				_, err := w.c.CreateInstances(w.ctx, w.tenant.ID, InstanceRequest{Workload: "web", Count: 3, Name: "more"})
				if !errors.Is(err, cluster.ErrOverQuota) || !strings.Contains(err.Error(), test.quota) {
					t.Errorf("refused with %v, want %s", err, test.quota)
				}
				if n := len(w.instances()); n != 2 {
					t.Errorf("%d instances, want 2", n)
				}
				events, _, err := w.c.Events(w.ctx, w.tenant.ID, EventFilter{})
				if err != nil || !slices.ContainsFunc(events, func(e cluster.Event) bool { return e.Reason == "QuotaRefused" }) {
					t.Errorf("no event tells of the refusal: %v, %v", events, err)
				}
				_, err = w.c.CreateInstances(w.ctx, w.tenant.ID, InstanceRequest{Workload: "web", Count: 1, Name: "more"})
				if err != nil {
					t.Error("what fits is refused:", err)
				}
			})
		})
	}
}

func TestNames(t *testing.T) {
	inOffice(t, func(w *world) {
		w.create(3, "web")
		blue := w.addTenant("blue")
		tests := []struct {
			name   string
			tenant string
			ask    InstanceRequest
			class  error
		}{
			{"taken by one of many", w.tenant.ID, InstanceRequest{Name: "web-2"}, cluster.ErrExists},
			{"one of many is taken", w.tenant.ID, InstanceRequest{Name: "web", Count: 4}, cluster.ErrExists},
			{"free", w.tenant.ID, InstanceRequest{Name: "web-4"}, nil},
			{"another tenant's", blue.ID, InstanceRequest{Name: "web", Count: 3}, nil},
			{"made up", w.tenant.ID, InstanceRequest{Count: 2}, nil},
			{"not a name", w.tenant.ID, InstanceRequest{Name: "Web"}, cluster.ErrInvalid},
			{"too long with its number", w.tenant.ID, InstanceRequest{Name: strings.Repeat("a", 62), Count: 2}, cluster.ErrInvalid},
			{"none", w.tenant.ID, InstanceRequest{Count: -1}, cluster.ErrInvalid},
			{"too many", w.tenant.ID, InstanceRequest{Count: cluster.MaxBatch + 1}, cluster.ErrInvalid},
			{"no tenant", Operator, InstanceRequest{}, cluster.ErrInvalid},
			{"unknown tenant", "11111111-1111-4111-8111-111111111111", InstanceRequest{}, cluster.ErrNotFound},
		}
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				test.ask.Workload = "web"
				_, err := w.c.CreateInstances(w.ctx, test.tenant, test.ask)
				if (test.class == nil) != (err == nil) || !errors.Is(err, test.class) {
					t.Errorf("got %v, want class %v", err, test.class)
				}
			})
		}
		for i := range visible(reader(w), w.tenant.ID) {
			if !cluster.ValidName(i.Name) {
				t.Errorf("%q is not a valid name", i.Name)
			}
		}
	})
}

func TestTenantsCannotSeeEachOther(t *testing.T) {
	inOffice(t, func(w *world) {
		blue := w.addTenant("blue").ID
		mine := w.create(1, "web")[0]
		private, err := w.c.CreateWorkload(w.ctx, w.tenant.ID, WorkloadRequest{Name: "mine", Spec: containerSpec()})
		if err != nil {
			t.Fatal(err)
		}
		attempts := map[string]func() error{
			"show instance":    func() error { _, err := w.c.Instance(w.ctx, blue, mine.ID); return err },
			"by name":          func() error { _, err := w.c.Instance(w.ctx, blue, "web"); return err },
			"stop":             func() error { _, err := w.c.StopInstance(w.ctx, blue, mine.ID); return err },
			"start":            func() error { _, err := w.c.StartInstance(w.ctx, blue, mine.ID); return err },
			"delete":           func() error { _, err := w.c.DeleteInstance(w.ctx, blue, mine.ID); return err },
			"workload":         func() error { _, err := w.c.Workload(w.ctx, blue, private.ID); return err },
			"workload by name": func() error { _, err := w.c.Workload(w.ctx, blue, "mine"); return err },
			"delete workload":  func() error { return w.c.DeleteWorkload(w.ctx, blue, private.ID) },
			"create of workload": func() error {
				_, err := w.c.CreateInstances(w.ctx, blue, InstanceRequest{Workload: private.ID})
				return err
			},
			"tenant":         func() error { _, _, err := w.c.Tenant(w.ctx, blue, w.tenant.ID); return err },
			"tenant by name": func() error { _, _, err := w.c.Tenant(w.ctx, blue, "red"); return err },
			"quota":          func() error { _, _, _, err := w.c.Quota(w.ctx, blue, w.tenant.ID); return err },
		}
		for name, attempt := range attempts {
			if err := attempt(); !errors.Is(err, cluster.ErrNotFound) {
				t.Errorf("%s: %v, want not found", name, err)
			}
		}
		list, _, _ := w.c.Instances(w.ctx, blue, InstanceFilter{})
		events, _, _ := w.c.Events(w.ctx, blue, EventFilter{})
		works, _, _ := w.c.Workloads(w.ctx, blue, Page{})
		tenants, _, _ := w.c.Tenants(w.ctx, blue, Page{})
		n, err := w.c.DeleteInstances(w.ctx, blue, InstanceFilter{})
		if len(list)+len(events)+n != 0 || len(works) != 1 || len(tenants) != 1 || err != nil {
			t.Errorf("blue sees %v %v %v %v and deleted %d, %v", list, events, works, tenants, n, err)
		}
		if _, err := w.c.Instance(w.ctx, w.tenant.ID, "web"); err != nil {
			t.Error(err)
		}
	})
}

func TestWorkloads(t *testing.T) {
	inOffice(t, func(w *world) {
		w.create(7, "web")
		err := w.c.DeleteWorkload(w.ctx, Operator, "web")
		if !errors.Is(err, cluster.ErrConflict) || !strings.Contains(err.Error(), "web-1, web-2, web-3, web-4, web-5 and 2 more") {
			t.Errorf("deleting a workload in use: %v", err)
		}
		if err := w.c.DeleteWorkload(w.ctx, w.tenant.ID, "web"); !errors.Is(err, cluster.ErrPermission) {
			t.Errorf("a tenant deletes a public workload: %v", err)
		}
		_, err = w.c.CreateWorkload(w.ctx, w.tenant.ID, WorkloadRequest{Name: "x", Visibility: cluster.Public, Spec: containerSpec()})
		if !errors.Is(err, cluster.ErrPermission) {
			t.Errorf("a tenant makes a public workload: %v", err)
		}
		if _, err = w.c.CreateWorkload(w.ctx, Operator, WorkloadRequest{Name: "web", Spec: containerSpec()}); !errors.Is(err, cluster.ErrExists) {
			t.Errorf("a name is used twice: %v", err)
		}
		own, err := w.c.CreateWorkload(w.ctx, w.tenant.ID, WorkloadRequest{Name: "web", Spec: containerSpec()})
		if err != nil {
			t.Fatal(err)
		}
		if found, err := w.c.Workload(w.ctx, w.tenant.ID, "web"); err != nil || found.ID != own.ID {
			t.Errorf("its own workload does not go first: %v, %v", found, err)
		}
		spec := containerSpec()
		spec.Privileged = true
		if _, err := w.c.CreateWorkload(w.ctx, w.tenant.ID, WorkloadRequest{Name: "strong", Spec: spec}); err != nil {
			t.Fatal(err)
		}
		_, err = w.c.CreateInstances(w.ctx, w.tenant.ID, InstanceRequest{Workload: "strong"})
		if !errors.Is(err, cluster.ErrPermission) {
			t.Errorf("a privileged container without permission: %v", err)
		}
		permissions := cluster.Permissions{PrivilegedContainers: true}
		if _, _, err := w.c.UpdateTenant(w.ctx, "red", TenantUpdate{Permissions: &permissions}, 0); err != nil {
			t.Fatal(err)
		}
		if _, err = w.c.CreateInstances(w.ctx, w.tenant.ID, InstanceRequest{Workload: "strong"}); err != nil {
			t.Errorf("a privileged container with permission: %v", err)
		}
		_, err = w.c.CreateWorkload(w.ctx, Operator, WorkloadRequest{Name: "-", Spec: cluster.WorkloadSpec{Kind: "boat"}})
		var problems cluster.Problems
		if !errors.As(err, &problems) || len(problems) < 2 {
			t.Errorf("all problems at once: %v", err)
		}
	})
}

func TestTenants(t *testing.T) {
	inOffice(t, func(w *world) {
		name, bits := "crimson", 28
		_, revision, err := w.c.Tenant(w.ctx, Operator, "red")
		if err != nil {
			t.Fatal(err)
		}
		changed, _, err := w.c.UpdateTenant(w.ctx, "red", TenantUpdate{Name: &name, SubnetBits: &bits}, revision)
		if err != nil || changed.Name != name || changed.SubnetBits != bits {
			t.Fatal(changed, err)
		}
		if _, _, err := w.c.UpdateTenant(w.ctx, name, TenantUpdate{SubnetBits: &bits}, revision); !errors.Is(err, cluster.ErrConflict) {
			t.Errorf("an update of an old version: %v", err)
		}
		if _, err := w.c.CreateTenant(w.ctx, TenantRequest{Name: name}); !errors.Is(err, cluster.ErrExists) {
			t.Errorf("the name is used twice: %v", err)
		}
		w.addTenant("red") // free again
		bad := -2
		limit := cluster.Limit(bad)
		if _, err := w.c.CreateTenant(w.ctx, TenantRequest{ID: "x", Name: "X", SubnetBits: 30, Quota: &cluster.Quota{Instances: limit}}); err == nil || len(err.(cluster.Problems)) != 4 {
			t.Errorf("all problems at once: %v", err)
		}
		for i := range 60 {
			if _, err := w.c.CreateWorkload(w.ctx, w.tenant.ID, WorkloadRequest{Name: fmt.Sprintf("w-%d", i), Spec: containerSpec()}); err != nil {
				t.Fatal(err)
			}
		}
		w.create(20, "web")
		if n := len(slices.Collect(subnets.By(reader(w), byTenant, w.tenant.ID))); n != 2 {
			t.Errorf("20 instances are in %d subnets of /28", n)
		}
		if err := w.c.DeleteTenant(w.ctx, name); !errors.Is(err, cluster.ErrConflict) || !strings.Contains(err.Error(), "20 instances") {
			t.Errorf("deleting a tenant with instances: %v", err)
		}
	})
}

func TestDeletedTenantLeavesNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(3, "web")
		w.untilState(cluster.Active, 3)
		if _, err := w.c.DeleteInstances(w.ctx, w.tenant.ID, InstanceFilter{}); err != nil {
			t.Fatal(err)
		}
		w.untilGone()
		if err := w.c.DeleteTenant(w.ctx, "red"); err != nil {
			t.Fatal(err)
		}
		w.until("its CNCI, subnet and claims are gone", func() bool {
			r := reader(w)
			return w.fake.held() == 0 && subnets.Len(r) == 0 && instances.Len(r) == 0 && usages.Len(r) == 0 && claims.Len(r) == 1
		})
	})
}

func TestSubnetsPerRequestAreBounded(t *testing.T) {
	inOffice(t, func(w *world) {
		bits := 29
		if _, _, err := w.c.UpdateTenant(w.ctx, "red", TenantUpdate{SubnetBits: &bits}, 0); err != nil {
			t.Fatal(err)
		}
		w.create(5*maxSubnetsPerRequest, "web")
		_, err := w.c.CreateInstances(w.ctx, w.tenant.ID, InstanceRequest{Workload: "web", Count: 5*maxSubnetsPerRequest + 1})
		if !errors.Is(err, cluster.ErrTooLarge) {
			t.Errorf("got %v", err)
		}
	})
}

func TestLargestBatch(t *testing.T) {
	inOffice(t, func(w *world) {
		w.create(cluster.MaxBatch, "web")
		if _, usage, _, err := w.c.Quota(w.ctx, Operator, "red"); err != nil || usage.CPU != cluster.MaxBatch*500 {
			t.Errorf("usage is %+v, %v", usage, err)
		}
	})
}

func TestLargeRecipesUnfoldInBoundedTransactions(t *testing.T) {
	inWorld(t, func(w *world) {
		spec := containerSpec()
		spec.Environment = map[string]string{}
		for i := range 20 {
			spec.Environment[fmt.Sprint("V", i)] = strings.Repeat("x", 1500)
		}
		if _, err := w.c.CreateWorkload(w.ctx, w.tenant.ID, WorkloadRequest{Name: "large", Spec: spec}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.c.CreateInstances(w.ctx, w.tenant.ID, InstanceRequest{Workload: "large", Count: 120}); err != nil {
			t.Fatal(err)
		}
		w.untilState(cluster.Active, 120)
	})
}

func TestFilterAndPages(t *testing.T) {
	inOffice(t, func(w *world) {
		if _, err := w.c.CreateInstances(w.ctx, w.tenant.ID, InstanceRequest{Workload: "web", Count: 5, Name: "a", Labels: map[string]string{"tier": "front"}}); err != nil {
			t.Fatal(err)
		}
		w.create(4, "b")
		found, next, err := w.c.Instances(w.ctx, w.tenant.ID, InstanceFilter{Labels: map[string]string{"tier": "front"}})
		if err != nil || len(found) != 5 || next != "" {
			t.Errorf("by label: %d, %q, %v", len(found), next, err)
		}
		var all, paged []string
		for _, i := range w.instances() {
			all = append(all, i.ID)
		}
		for after := ""; ; {
			items, next, err := w.c.Instances(w.ctx, Operator, InstanceFilter{Page: Page{After: after, Limit: 4}})
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range items {
				paged = append(paged, i.ID)
			}
			if after = next; after == "" {
				break
			}
		}
		if diff := cmp.Diff(all, paged); diff != "" {
			t.Error("page by page (-want +got):", diff)
		}
		n, err := w.c.DeleteInstances(w.ctx, w.tenant.ID, InstanceFilter{Labels: map[string]string{"tier": "front"}})
		if n != 5 || err != nil {
			t.Errorf("deleted %d, %v", n, err)
		}
	})
}

func TestIntentsOfAnInstanceNotUnfolded(t *testing.T) {
	inOffice(t, func(w *world) {
		created := w.create(300, "web")
		stopped, err := w.c.StopInstance(w.ctx, w.tenant.ID, created[299].ID)
		if err != nil || stopped.State != cluster.Stopped || stopped.Name != "web-300" {
			t.Errorf("got %v, %v", stopped, err)
		}
		if n := len(w.instances()); n != 300 {
			t.Errorf("%d instances are listed", n)
		}
	})
}

func TestWatch(t *testing.T) {
	inWorld(t, func(w *world) {
		blue := w.addTenant("blue")
		mine, theirs := w.c.Watch(w.ctx, w.tenant.ID), w.c.Watch(w.ctx, blue.ID)
		events := w.c.Watch(w.ctx, Operator, ChangeEvent)
		for _, changes := range []<-chan Change{mine, theirs, events} {
			if change := <-changes; change.Kind != ChangeResync {
				t.Fatalf("it begins with %v", change)
			}
		}
		w.create(1, "web")
		w.untilState(cluster.Active, 1)
		i := w.instance("web")
		w.fake.with(func() {
			w.fake.tell(i.Node, ssntp.Progress, payload.Progress{Instance: i.ID, Generation: 1, Step: "pull", Percent: 40})
		})
		synctest.Wait()
		if _, err := w.c.DeleteInstance(w.ctx, w.tenant.ID, "web"); err != nil {
			t.Fatal(err)
		}
		w.untilGone()
		var states []cluster.State
		progressed, deleted, cnci := false, false, false
		for len(mine) > 0 {
			switch change := <-mine; change.Kind {
			case ChangeInstance:
				if deleted = change.Deleted; !deleted {
					states = append(states, change.Instance.State)
				}
			case ChangeProgress:
				progressed = change.Progress.Percent == 40
			case ChangeCNCI:
				cnci = true
			}
		}
		want := []cluster.State{cluster.Pending, cluster.Scheduled, cluster.Starting, cluster.Active, cluster.Deleting}
		if diff := cmp.Diff(want, slices.Compact(states)); diff != "" || !deleted || !progressed || !cnci {
			t.Errorf("states (-want +got): %s deleted %t, progress %t, CNCI %t", diff, deleted, progressed, cnci)
		}
		if len(theirs) > 0 {
			t.Errorf("another tenant saw %+v", <-theirs)
		}
		for len(events) > 0 {
			if change := <-events; change.Kind != ChangeEvent {
				t.Errorf("a watcher of events got %+v", change)
			}
		}
	})
}

func TestEventsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.open(w.memory.Backend())
		w.c.maxEvents = 50
		w.lead()
		w.fake.addNode(1)
		w.prepare()
		w.create(100, "web")
		w.untilState(cluster.Active, 100)
		list, _, err := w.c.Events(w.ctx, Operator, EventFilter{})
		if err != nil || len(list) < 50 || len(list) > 60 {
			t.Errorf("%d events, %v; want 50 to 56", len(list), err)
		}
		if n, err := w.c.ClearEvents(w.ctx); n != len(list) || err != nil {
			t.Errorf("cleared %d of %d, %v", n, len(list), err)
		}
		w.close()
	})
}
