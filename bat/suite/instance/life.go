package instance

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/ciaocloud/ciao/bat"
	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
)

func allWorkloads(ctx context.Context, t *bat.T) {
	tenant := t.Tenant(ctx)
	workloads, err := tenant.API.Workloads(ctx)
	t.Need(err, "list workloads")
	var created []api.Instance
	for _, workload := range workloads {
		created = append(created, tenant.Create(ctx, api.CreateInstances{Workload: workload.ID})...)
	}
	if len(created) == 0 {
		t.Skipf("the cluster has no public workloads")
	}
	tenant.Active(ctx, created)
	tenant.Delete(ctx, created...)
}

func stopStart(ctx context.Context, t *bat.T) {
	tenant := t.Tenant(ctx)
	first := tenant.Sleepers(ctx, "lasting", "neighbour")[0]
	same := func(when string, now api.Instance, state cluster.State, generation uint64) {
		if identity(now) != identity(first) {
			t.Errorf("%s it is %s, was %s", when, identity(now), identity(first))
		}
		if now.State != state || now.Generation != generation {
			t.Errorf("%s it is %s in generation %d, expected %s in %d", when, now.State, now.Generation, state, generation)
		}
	}
	again := bat.Works
	if t.Kind == cluster.KindVM { // active since its QEMU runs; it has to boot
		again = func(name, command string) bat.Step { return bat.Step{Name: name, Script: "within 20 " + command} }
	}
	tenant.Stop(ctx, first)
	same("stopped", tenant.Get(ctx, "lasting"), cluster.Stopped, 1)
	same("started again", tenant.Start(ctx, first), cluster.Active, 2)
	tenant.Probe(ctx,
		again("it answers again at its address", "ping -c 1 -W 2 "+first.Addresses[0].String()),
		again("it answers again by its name", "ping -c 1 -W 2 lasting"))
	t.Ciao(ctx, tenant.ID, "restart", "instance", "lasting").Works(t, "restart")
	same("restarted", tenant.Get(ctx, "lasting"), cluster.Active, 3)
}

// identity is what an instance keeps as long as it lives.
func identity(i api.Instance) string {
	return fmt.Sprint(i.ID, i.Name, i.Tenant, i.Workload, i.MAC, i.Addresses, i.Subnet, i.Created)
}

func deleteStopped(ctx context.Context, t *bat.T) {
	tenant := t.Tenant(ctx)
	first := tenant.Sleepers(ctx, "short-lived")[0]
	tenant.Stop(ctx, first)
	tenant.Delete(ctx, first)
	for _, ref := range []string{first.ID, first.Name} {
		if _, err := tenant.API.Instance(ctx, ref); !errors.Is(err, cluster.ErrNotFound) {
			t.Errorf("after the delete %s is answered with %v, expected not found", ref, err)
		}
	}
	again := tenant.Sleepers(ctx, "short-lived")[0]
	if again.ID == first.ID || again.Generation != 1 {
		t.Errorf("a new instance of the same name is %s, generation %d", again.ID, again.Generation)
	}
}

func deleteAll(ctx context.Context, t *bat.T) {
	tenant, other := t.Tenant(ctx), t.Tenant(ctx)
	bystander := other.Sleepers(ctx, "bystander")[0]
	created := tenant.ManySleepers(ctx, "all", 4)
	tenant.Stop(ctx, created[0])
	t.Ciao(ctx, tenant.ID, "delete", "instance", "--all", "--wait").Works(t, "delete all")
	if left := tenant.List(ctx); len(left) != 0 {
		t.Errorf("%d instances are left", len(left))
	}
	if now := other.Get(ctx, bystander.ID); now.State != cluster.Active {
		t.Errorf("the other tenant's instance is %s", now.State)
	}
	t.Ciao(ctx, "", "delete", "instance", "--all").Refuses(t, "delete all of nobody in particular", 2, "tenant")
}

func nameTaken(ctx context.Context, t *bat.T) {
	tenant, other := t.Tenant(ctx), t.Tenant(ctx)
	tenant.Sleepers(ctx, "taken", "stem-2")
	t.Ciao(ctx, tenant.ID, "create", "instance", "sleeper", "--name", "taken").Refuses(t, "a taken name", 4, "taken")
	t.Ciao(ctx, tenant.ID, "create", "instance", "sleeper", "--name", "stem", "--instances", "3").Refuses(t, "a taken name among many", 4, "stem-2")
	if there := tenant.List(ctx); len(there) != 2 {
		t.Errorf("there are %d instances after the refused requests, expected 2", len(there))
	}
	other.Sleepers(ctx, "taken")
}

// endings are scripts that end an instance, by the exit code that they give it.
func endings(t *bat.T) map[int]string {
	if t.Kind == cluster.KindVM { // which shuts down, or panics
		return map[int]string{0: "poweroff", 1: "echo c >/proc/sysrq-trigger"}
	}
	return map[int]string{0: "exit 0", 7: "exit 7"}
}

func exitCode(ctx context.Context, t *bat.T) {
	tenant := t.Tenant(ctx)
	var tasks []func()
	for code, script := range endings(t) {
		tasks = append(tasks, func() { ends(ctx, t, tenant, script, code) })
	}
	t.Together(tasks...)
	workload, words := t.Failing("failing")
	tenant.Workload(ctx, workload)
	created := tenant.Create(ctx, api.CreateInstances{Workload: workload.Name})
	if failed := tenant.Await(ctx, created, bat.LaunchTime, bat.In(cluster.Exited, cluster.Failed))[0]; failed.State != cluster.Failed || !strings.Contains(failed.Reason, words) {
		t.Errorf("what cannot start: the instance is %s: %q, expected failed with the word %s", failed.State, failed.Reason, words)
	}
}

// ends has an instance run a script that ends it, twice if that is no success.
func ends(ctx context.Context, t *bat.T, tenant *bat.Tenant, script string, code int) {
	workload := t.Recipe(fmt.Sprintf("ends-with-%d", code), script)
	tenant.Workload(ctx, workload)
	created := tenant.Create(ctx, api.CreateInstances{Workload: workload.Name})
	ended := tenant.Await(ctx, created, bat.LaunchTime, bat.In(cluster.Exited, cluster.Failed))[0]
	if ended.State != cluster.Exited || ended.ExitCode == nil || *ended.ExitCode != code {
		t.Errorf("the instance is %s with exit code %v (%s), expected exited with %d", ended.State, ended.ExitCode, ended.Reason, code)
	}
	if code == 0 {
		return
	}
	_, err := tenant.API.StartInstance(ctx, ended.ID)
	t.Need(err, "start an instance that ended")
	again := tenant.Await(ctx, created, bat.LaunchTime, func(i api.Instance, _ bool) (bool, error) {
		return i.Generation == 2 && (i.State == cluster.Exited || i.State == cluster.Failed), nil
	})[0]
	if again.State != cluster.Exited || again.ExitCode == nil || *again.ExitCode != code {
		t.Errorf("started again it is %s with exit code %v, expected exited with %d", again.State, again.ExitCode, code)
	}
}

func events(ctx context.Context, t *bat.T) {
	tenant, other := t.Tenant(ctx), t.Tenant(ctx)
	tenant.Sleepers(ctx, "told")
	bad, _ := t.Failing("bad")
	tenant.Workload(ctx, bad)
	created := tenant.Create(ctx, api.CreateInstances{Workload: "bad"})
	tenant.Await(ctx, created, bat.LaunchTime, bat.In(cluster.Failed))
	if event := tenant.Event(ctx, "Created"); event.Tenant != tenant.ID || event.Message == "" || event.Time.IsZero() || event.Severity != cluster.Info {
		t.Errorf("the event of the creation is %+v", event)
	}
	t.Until(ctx, bat.SettleTime, "an event of severity error or warning about the failed instance", func(ctx context.Context) (bool, string) {
		found, err := tenant.API.Events(ctx, client.EventFilter{Instance: created[0].ID})
		for _, event := range found {
			if event.Severity != cluster.Info {
				t.Logf("%s: %s", event.Reason, event.Message)
				return true, ""
			}
		}
		return false, fmt.Sprint(len(found), " events of the instance ", err)
	})
	found, err := other.API.Events(ctx, client.EventFilter{})
	t.Need(err, "list events")
	for _, event := range found {
		if event.Tenant != other.ID {
			t.Errorf("another tenant reads %+v", event)
		}
	}
}
