// Package quota judges quotas: what a tenant may hold, and that what it holds is counted rightly.
package quota

import (
	"context"
	"errors"
	"fmt"

	"github.com/ciaocloud/ciao/bat"
	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
)

// Suite lists the tests.
func Suite() bat.Suite {
	return bat.Suite{Name: "quota", Summary: "quotas: what a tenant may hold, and holds", Tests: []bat.Test{
		{
			Name:        "SetAndRead",
			Summary:     "An operator sets quotas, the tenant reads them.",
			Description: "Sets each quota through the command line and reads all back; sets one to unlimited; sets wrong ones.",
			Expected:    "Read back as set; unknown names and values are refused with exit code 2 and change nothing.",
			Run:         setAndRead,
		},
		{
			Name:        "Usage",
			Summary:     "What is used is the sum of the instances, and nothing after the last is gone.",
			Description: "Creates three instances, stops one, deletes all.",
			Expected:    "Three times the workload, also with one stopped; 0 after the delete.",
			Run:         usage,
		},
		{
			Name:        "Refusal",
			Summary:     "What does not fit a quota is refused whole, and leaves nothing.",
			Description: "Asks for three instances with a quota of two instances, then with one of two instances' memory, vCPUs and disk, then with limits of one instance that are too small.",
			Expected:    "Exit code 6 each time; no instance, no usage; an event tells; a name of the refused request is free; two instances still fit.",
			Run:         refusal,
		},
	}}
}

// limitsOf reads the limits of the wanted names.
func limitsOf(ctx context.Context, t *bat.T, tenant *bat.Tenant, wanted map[string]string) map[string]string {
	quota, err := tenant.API.Quota(ctx, tenant.ID)
	t.Need(err, "show the quota")
	limits := map[string]string{}
	for _, item := range quota.Items {
		if _, ok := wanted[item.Name]; ok {
			limits[item.Name] = item.Limit
		}
	}
	return limits
}

func setAndRead(ctx context.Context, t *bat.T) {
	tenant := t.Tenant(ctx)
	want := map[string]string{
		api.QuotaInstances: "7", api.QuotaVCPUs: "10", api.QuotaMemoryMiB: "4096", api.QuotaDiskMiB: "20480",
		api.QuotaInstanceVCPUs: "4", api.QuotaInstanceMemoryMiB: "2048", api.QuotaInstanceDiskMiB: "10240",
	}
	for name, value := range want {
		t.Ciao(ctx, "", "update", "quota", tenant.ID, name, value).Works(t, "update quota")
	}
	if got := limitsOf(ctx, t, tenant, want); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the quotas are %v, expected %v", got, want)
	}
	t.Ciao(ctx, "", "update", "quota", tenant.ID, api.QuotaVCPUs, "unlimited").Works(t, "update quota")
	want[api.QuotaVCPUs] = "unlimited"
	t.Ciao(ctx, "", "update", "quota", tenant.ID, "bananas", "1").Refuses(t, "an unknown quota", 2, "bananas")
	t.Ciao(ctx, "", "update", "quota", tenant.ID, api.QuotaInstances, "-1").Refuses(t, "a negative quota", 2, "quota")
	t.Ciao(ctx, "", "update", "quota", tenant.ID, api.QuotaInstances, "many").Refuses(t, "a quota that is no number", 2, "quota")
	if got := limitsOf(ctx, t, tenant, want); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("after the refused changes the quotas are %v, expected %v", got, want)
	}
}

func usage(ctx context.Context, t *bat.T) {
	tenant := t.Tenant(ctx)
	small := t.Cluster.Sleeper("small")
	small.Requirements.DiskMiB = 3
	tenant.Workload(ctx, small)
	workload := small.Requirements
	check := func(when string, n float64) {
		want := map[string]float64{api.QuotaInstances: n, api.QuotaVCPUs: n * workload.VCPUs, api.QuotaMemoryMiB: n * float64(workload.MemoryMiB), api.QuotaDiskMiB: n * float64(workload.DiskMiB)}
		got := tenant.Usage(ctx)
		for name, value := range want {
			if diff := got[name] - value; diff > 1e-9 || diff < -1e-9 {
				t.Errorf("%s: %g of %s are used, expected %g", when, got[name], name, value)
			}
		}
	}
	check("at first", 0)
	created := tenant.Active(ctx, tenant.Create(ctx, api.CreateInstances{Workload: small.Name, Count: 3}))
	check("with three instances", 3)
	tenant.Stop(ctx, created[0])
	check("with one of them stopped", 3)
	tenant.Delete(ctx, created...)
	check("after the delete", 0)
}

func refusal(ctx context.Context, t *bat.T) {
	tenant := t.Tenant(ctx)
	workload := t.Cluster.Sleeper("small")
	workload.Requirements.VCPUs, workload.Requirements.DiskMiB = 0.5, 2
	tenant.Workload(ctx, workload)
	set := func(name, value string) {
		_, err := t.Cluster.Operator.UpdateQuota(ctx, tenant.ID, api.UpdateQuota{Limits: map[string]string{name: value}})
		t.Need(err, "set the quota of %s", name)
	}
	for name, value := range map[string]string{
		api.QuotaInstances: "2", api.QuotaMemoryMiB: fmt.Sprint(2 * workload.Requirements.MemoryMiB), api.QuotaVCPUs: "1", api.QuotaDiskMiB: "4",
		api.QuotaInstanceMemoryMiB: fmt.Sprint(workload.Requirements.MemoryMiB - 1), api.QuotaInstanceVCPUs: "0", api.QuotaInstanceDiskMiB: "1",
	} {
		set(name, value)
		t.Ciao(ctx, tenant.ID, "create", "instance", "small", "--instances", "3", "--name", "too").Refuses(t, "more than the quota of "+name, 6, "")
		if left := tenant.List(ctx); len(left) != 0 {
			t.Errorf("%s: %d instances are left of a refused request", name, len(left))
		}
		for what, used := range tenant.Usage(ctx) {
			if used != 0 {
				t.Errorf("%s: %g of %s are used after a refused request", name, used, what)
			}
		}
		set(name, "unlimited")
	}
	tenant.Event(ctx, "QuotaRefused")
	set(api.QuotaInstances, "2")
	created := tenant.Create(ctx, api.CreateInstances{Workload: "small", Count: 2, Name: "too"})
	if _, err := tenant.API.CreateInstances(ctx, api.CreateInstances{Workload: "small"}); !errors.Is(err, cluster.ErrOverQuota) {
		t.Errorf("a third instance: %v, expected over quota", err)
	}
	tenant.Delete(ctx, tenant.Active(ctx, created)[0])
	tenant.Active(ctx, tenant.Create(ctx, api.CreateInstances{Workload: "small"}))
}
