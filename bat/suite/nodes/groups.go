package nodes

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ciaocloud/ciao/bat"
	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
)

func together(ctx context.Context, t *bat.T) {
	ready(ctx, t, 2)
	tenant := t.Tenant(ctx)
	watchGroups(ctx, t, tenant)
	workload := t.Cluster.Sleeper("member")
	workload.Requirements.Together = "crew"
	tenant.Workload(ctx, workload)
	created := tenant.Active(ctx, tenant.Create(ctx, api.CreateInstances{Workload: "member", Name: "crew", Count: 3}))
	created = append(created, tenant.Active(ctx, tenant.Create(ctx, api.CreateInstances{Workload: "member", Name: "late"}))...)
	left := created[0].Node
	restored(t, left)
	_, err := t.Cluster.Operator.EvacuateNode(ctx, left, false)
	t.Need(err, "evacuate node %s", left)
	moved(ctx, t, tenant, created, left)
}

// watchGroups looks at the tenant's groups whenever one of its instances changes, until the test has ended.
func watchGroups(ctx context.Context, t *bat.T, tenant *bat.Tenant) {
	needs := map[string]api.Requirements{} // by the names of workloads, which do not change
	ctx, end := context.WithCancel(ctx)
	ended := make(chan struct{})
	t.Cleanup(func(ctx context.Context) {
		end()
		<-ended
		if err := groupsHold(ctx, tenant, needs); err != nil {
			t.Errorf("at the end: %v", err)
		}
	})
	go func() {
		defer close(ended)
		for _, err := range tenant.API.Watch(ctx, api.ChangeInstance) {
			if err == nil {
				err = groupsHold(ctx, tenant, needs)
			}
			if err != nil && ctx.Err() == nil {
				t.Errorf("%v", err)
				return
			}
		}
	}()
}

// groupsHold looks at all instances of one moment: those of a group that is together have one node at most, those of one that is spread have
// none in common.
func groupsHold(ctx context.Context, tenant *bat.Tenant, needs map[string]api.Requirements) error {
	instances, err := tenant.API.Instances(ctx, client.InstanceFilter{})
	if err != nil {
		return fmt.Errorf("list instances: %w", err)
	}
	nodeOf, memberOn := map[string]string{}, map[string]string{}
	for _, i := range instances {
		if i.Node == "" {
			continue
		}
		if _, known := needs[i.Workload]; !known {
			workload, err := tenant.API.Workload(ctx, i.Workload)
			if err != nil {
				return fmt.Errorf("show workload %s: %w", i.Workload, err)
			}
			needs[i.Workload] = workload.Requirements
		}
		group := needs[i.Workload]
		if node := nodeOf[group.Together]; group.Together != "" && node != "" && node != i.Node {
			return fmt.Errorf("group %s, which is together, is on %s and on %s", group.Together, node, i.Node)
		}
		nodeOf[group.Together] = i.Node
		place := group.Spread + " on " + i.Node
		if other := memberOn[place]; group.Spread != "" && other != "" {
			return fmt.Errorf("group %s, which is spread, has both %s and %s on %s", group.Spread, other, i.Name, i.Node)
		}
		memberOn[place] = i.Name
	}
	return nil
}

func lostGroups(ctx context.Context, t *bat.T) {
	usable := ready(ctx, t, 3)
	t.Daemons(ctx) // or the test is skipped
	if !slices.Contains(t.Kinds(ctx), cluster.KindProcess) {
		t.Skipf("no node runs processes, whose copies can be counted here")
	}
	tenant := t.Tenant(ctx)
	watchGroups(ctx, t, tenant)
	crew, spread := startGroups(ctx, t, tenant, len(usable))
	left := crew[0].Node
	there := slices.IndexFunc(spread, func(i api.Instance) bool { return i.Node == left })
	if there < 0 {
		t.Fatalf("a group that is spread over %d nodes has nothing on %s", len(usable), left)
	}
	lone, stay := spread[there], slices.Delete(slices.Clone(spread), there, there+1)
	restored(t, left)
	heal := broken(ctx, t, "partition", number(ctx, t, left))
	state(ctx, t, left, cluster.NodeMissing, missingTime)
	_, err := t.Cluster.Operator.EvacuateNode(ctx, left, true)
	t.Need(err, "evacuate the lost node")
	moved(ctx, t, tenant, crew, left)
	tenant.Await(ctx, []api.Instance{lone}, moveTime, func(i api.Instance, _ bool) (bool, error) {
		return i.State == cluster.Pending && strings.Contains(i.Reason, "with another instance of its group"), nil
	})
	tenant.Delete(ctx, stay[0])
	moved(ctx, t, tenant, []api.Instance{lone}, left)
	if now := tenant.Get(ctx, lone.ID); now.Node != stay[0].Node {
		t.Errorf("%s went to %s, and only %s had none of its group", now.Name, now.Node, stay[0].Node)
	}
	heal(ctx)
	state(ctx, t, left, cluster.NodeMaintenance, missingTime)
	oneCopy(ctx, t, append(append(crew, lone), stay[1:]...))
	for _, then := range stay[1:] {
		if now := tenant.Get(ctx, then.ID); now.State != cluster.Active || now.Generation != then.Generation || now.Node != then.Node {
			t.Errorf("%s was generation %d on %s and is %s in generation %d on %s", then.Name, then.Generation, then.Node, now.State, now.Generation, now.Node)
		}
	}
}

// startGroups starts three processes that are together, and one on each node.
func startGroups(ctx context.Context, t *bat.T, tenant *bat.Tenant, nodes int) (crew, spread []api.Instance) {
	create := func(name string, count int, change func(*api.Requirements)) []api.Instance {
		workload := t.Cluster.SleeperOf(cluster.KindProcess, name)
		change(&workload.Requirements)
		tenant.Workload(ctx, workload)
		return tenant.Create(ctx, api.CreateInstances{Workload: name, Name: name, Count: count})
	}
	crew = create("crew", 3, func(r *api.Requirements) { r.Together = "crew" })
	spread = create("spread", nodes, func(r *api.Requirements) { r.Spread = "each" })
	active := tenant.Active(ctx, slices.Concat(crew, spread))
	return active[:len(crew)], active[len(crew):]
}

// oneCopy waits until each of the instances, which are processes, has one copy on this machine, whatever node that is on. Nothing in the
// cluster need change when a copy ends, so it looks again and again.
func oneCopy(ctx context.Context, t *bat.T, instances []api.Instance) {
	ctx, cancel := context.WithTimeout(ctx, t.Cluster.Scale(moveTime))
	defer cancel()
	again := time.NewTicker(200 * time.Millisecond)
	defer again.Stop()
	for {
		wrong := slices.IndexFunc(instances, func(i api.Instance) bool { return len(t.Processes("ciao-shim", i.ID)) != 1 })
		if wrong < 0 {
			return
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("%s has the processes %v, expected one", instances[wrong].Name, t.Processes("ciao-shim", instances[wrong].ID))
		}
	}
}
