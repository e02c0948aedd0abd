package workload

import (
	"context"

	"github.com/ciaocloud/ciao/bat"
	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
)

func command(ctx context.Context, t *bat.T) {
	tenant := t.Tenant(ctx)
	workload := t.Cluster.Container("checks", `[ "$1" = "an argument" ] || exit 11
[ "$COLOUR" = "deep blue" ] || exit 12
[ "$(hostname)" = this-one ] || exit 13
[ $(ls /sys/class/net | grep -vc '^lo$') = 1 ] || exit 14
exit 0`)
	workload.Command = append(workload.Command, "sh", "an argument")
	workload.Environment = map[string]string{"COLOUR": "deep blue"}
	tenant.Workload(ctx, workload)
	created := tenant.Create(ctx, api.CreateInstances{Workload: workload.Name, Name: "this-one"})
	ended := tenant.Await(ctx, created, bat.LaunchTime, bat.In(cluster.Exited, cluster.Failed))[0]
	if ended.State != cluster.Exited || ended.ExitCode == nil {
		t.Fatalf("the container is %s without an exit code: %s", ended.State, ended.Reason)
	}
	if what := map[int]string{11: "the argument", 12: "the variable", 13: "the host name", 14: "the number of links"}; *ended.ExitCode != 0 {
		t.Errorf("%s is not as it should be inside (exit code %d)", what[*ended.ExitCode], *ended.ExitCode)
	}
}

func limits(ctx context.Context, t *bat.T) {
	tenant := t.Tenant(ctx)
	memory := t.Cluster.Container("memory", "")
	memory.Requirements.MemoryMiB = 24
	tenant.ProbeIn(ctx, memory,
		bat.Step{Name: "8 MiB can be used", Script: "dd if=/dev/zero of=/dev/null bs=8M count=1 2>/dev/null"},
		bat.Step{Name: "64 MiB cannot be used", Script: "! dd if=/dev/zero of=/dev/null bs=64M count=1 2>/dev/null"})
	pids := t.Cluster.Container("pids", "")
	pids.Requirements.Pids = 20
	tenant.ProbeIn(ctx, pids,
		bat.Step{Name: "ten processes can run", Script: "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 2 & done; wait"},
		bat.Step{Name: "forty processes cannot run", Script: "! ( i=0; while [ $i -lt 40 ]; do sleep 60 & i=$((i+1)); done )"})
}
