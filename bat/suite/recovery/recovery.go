// Package recovery judges what survives the sudden death of a daemon. It kills daemons where singlevm supervises them, and nowhere
// else.
package recovery

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ciaocloud/ciao/bat"
	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
)

// testTime is the limit of one of these tests: ten containers on a machine that restarts a daemon meanwhile.
const testTime = 4 * time.Minute

// recoveryTime is how long a cluster may take to finish what a death interrupted: daemons are restarted at once, connections made again
// within seconds, unanswered commands repeated after some more.
const recoveryTime = 2 * time.Minute

// Suite lists the tests.
func Suite() bat.Suite {
	suite := bat.Suite{Name: "recovery", Summary: "what survives the sudden death of a daemon (where singlevm supervises them)", Alone: true}
	for _, daemon := range []struct{ name, title string }{
		{"scheduler", "Scheduler"}, {"controller", "Controller"}, {"launcher", "Launcher"}, {"cnci", "CNCI"},
	} {
		suite.Tests = append(suite.Tests, bat.Test{
			Name:        daemon.title,
			Summary:     fmt.Sprintf("The %s may die while instances are started and others talk.", daemon.name),
			Description: fmt.Sprintf("Two containers exchange packets all the time, a process and a virtual machine run beside them (of the kinds that the nodes run). Ten more containers are created by one request, and one more of each other kind, and the %s is killed (SIGKILL) while they start.", daemon.name),
			Expected:    "The new ones become active in their first generation, with addresses of their own; the two lost no packet for longer than two seconds; nothing was started twice; the daemon runs again.",
			Timeout:     testTime,
			Run:         func(ctx context.Context, t *bat.T) { survives(ctx, t, daemon.name) },
		})
	}
	suite.Tests = append(suite.Tests, bat.Test{
		Name:        "Carriers",
		Summary:     "What carries a process or a virtual machine may die.",
		Description: "Kills (SIGKILL) the shim of a process and that of a virtual machine, and then the machine's QEMU.",
		Expected:    "Each instance is carried anew, once, and is active at its address and in its generation.",
		Timeout:     testTime,
		Run:         carriers,
	})
	return suite
}

// watchdog pings a neighbour ten times a second and ends with an error as soon as nothing was heard for two seconds.
const watchdog = `lost=0
while :; do
  if ping -c 1 -W 1 "$PEER" >/dev/null 2>&1; then lost=0; else lost=$((lost+1)); fi
  [ $lost -lt 2 ] || exit 5
  usleep 100000
done`

func survives(ctx context.Context, t *bat.T, daemon string) {
	t.Daemons(ctx) // or the test is skipped
	const n = 10
	tenant := t.Tenant(ctx)
	peer := tenant.Sleepers(ctx, "peer")[0]
	talk := t.Cluster.Container("talker", watchdog)
	talk.Environment = map[string]string{"PEER": peer.Addresses[0].String()}
	tenant.Workload(ctx, talk)
	talker := tenant.Active(ctx, tenant.Create(ctx, api.CreateInstances{Workload: "talker", Name: "talker"}))[0]

	others := otherKinds(ctx, t)
	for _, kind := range others {
		tenant.Workload(ctx, t.Cluster.SleeperOf(kind, "sleeper-"+string(kind)))
		tenant.Active(ctx, tenant.Create(ctx, api.CreateInstances{Workload: "sleeper-" + string(kind), Name: "kept-" + string(kind)}))
	}
	created := tenant.Create(ctx, api.CreateInstances{Workload: "sleeper", Name: "new", Count: n})
	for _, kind := range others {
		created = append(created, tenant.Create(ctx, api.CreateInstances{Workload: "sleeper-" + string(kind), Name: "new-" + string(kind)})...)
	}
	tenant.Await(ctx, created[:1], bat.LaunchTime, bat.In(cluster.Scheduled, cluster.Starting, cluster.Active))
	kill(ctx, t, tenant, daemon)
	tenant.Await(ctx, created, recoveryTime, func(i api.Instance, gone bool) (bool, error) {
		if gone || i.State == cluster.Failed || i.State == cluster.Exited {
			return false, fmt.Errorf("%s is %s: %s", i.Name, i.State, i.Reason)
		}
		return i.State == cluster.Active, nil
	})
	judge(ctx, t, tenant, n+2+2*len(others))
	if now := tenant.Get(ctx, talker.ID); now.State != cluster.Active || now.Generation != 1 {
		t.Errorf("the container that talked all the time is %s with exit code %s in generation %d", now.State, code(now.ExitCode), now.Generation)
	}
	tenant.Probe(ctx, bat.Works("a new instance's name is known", "ping -c 1 -W 2 new-10"))
}

// otherKinds are the kinds beside containers that the nodes run.
func otherKinds(ctx context.Context, t *bat.T) []cluster.Kind {
	return slices.DeleteFunc(t.Kinds(ctx), func(k cluster.Kind) bool { return k == cluster.KindContainer || k == cluster.KindCNCI })
}

func carriers(ctx context.Context, t *bat.T) {
	t.Daemons(ctx) // or the test is skipped
	tenant := t.Tenant(ctx)
	for _, kind := range otherKinds(ctx, t) {
		workload := t.Cluster.SleeperOf(kind, "sleeper-"+string(kind))
		tenant.Workload(ctx, workload)
		instance := tenant.Active(ctx, tenant.Create(ctx, api.CreateInstances{Workload: workload.Name, Name: "carried-" + string(kind)}))[0]
		strike(ctx, t, instance, "ciao-shim")
		if kind == cluster.KindVM {
			strike(ctx, t, instance, "qemu-system")
		}
		if now := tenant.Get(ctx, instance.ID); now.Generation != 1 || now.Node != instance.Node || now.MAC != instance.MAC {
			t.Errorf("%s was %+v and is %+v", instance.Name, instance, now)
		}
		tenant.Probe(ctx, bat.Step{Name: "it answers at its address", Script: "within 20 ping -c 1 -W 2 " + instance.Addresses[0].String()})
	}
}

// strike kills a program of an instance, and waits until there is another one, and one only, and the instance is active.
func strike(ctx context.Context, t *bat.T, instance api.Instance, program string) {
	before := t.Processes(program, instance.ID)
	if len(before) == 0 {
		t.Fatalf("no process %s of %s is found", program, instance.Name)
	}
	for _, pid := range before {
		killOne(t, program+" of "+instance.Name, pid)
	}
	t.Until(ctx, recoveryTime, instance.Name+" is active again, with another "+program, func(ctx context.Context) (bool, string) {
		now, err := t.Cluster.Operator.Instance(ctx, instance.ID)
		pids := t.Processes(program, instance.ID)
		anew := len(pids) == 1 && !slices.ContainsFunc(pids, func(pid int) bool { return slices.Contains(before, pid) })
		return err == nil && anew && now.State == cluster.Active, fmt.Sprintf("%s %s, %v, processes %v, before %v", now.State, now.Reason, err, pids, before)
	})
}

// judge wants exactly n instances, each active in its first generation, with an address of its own.
func judge(ctx context.Context, t *bat.T, tenant *bat.Tenant, n int) {
	listed := tenant.List(ctx)
	if len(listed) != n {
		t.Errorf("%d instances are listed, expected %d", len(listed), n)
	}
	owners := map[string]string{}
	for _, i := range listed {
		if i.State != cluster.Active || i.Generation != 1 {
			t.Errorf("%s is %s in generation %d: %s", i.Name, i.State, i.Generation, i.Reason)
		}
		for _, text := range []string{i.Addresses[0].String(), i.MAC, i.Name} {
			if owner, taken := owners[text]; taken {
				t.Errorf("%s and %s both have %s", owner, i.Name, text)
			}
			owners[text] = i.Name
		}
	}
}

func code(c *int) string {
	if c == nil {
		return "none"
	}
	return strconv.Itoa(*c)
}

// kill kills a daemon as singlevm names it, or the agents of the tenant's CNCIs.
func kill(ctx context.Context, t *bat.T, tenant *bat.Tenant, daemon string) {
	var pids []int
	if daemon == "cnci" {
		pids = agents(ctx, t, tenant)
	}
	for _, one := range t.Daemons(ctx) {
		if (one.Name == daemon || strings.HasPrefix(one.Name, daemon+"-")) && one.PID > 0 { // of each node, where there are several
			pids = append(pids, one.PID)
		}
	}
	if len(pids) == 0 {
		t.Fatalf("no process of the %s is found", daemon)
	}
	for _, pid := range pids {
		killOne(t, daemon, pid)
	}
}

func killOne(t *bat.T, what string, pid int) {
	err := syscall.Kill(pid, syscall.SIGKILL)
	if errors.Is(err, syscall.EPERM) {
		t.Skipf("killing daemons needs root")
	}
	if !errors.Is(err, syscall.ESRCH) {
		t.Need(err, "kill the %s, process %d", what, pid)
	}
	t.Logf("killed the %s, process %d", what, pid)
}

// agents are the processes `ciao run cnci` whose file names one of the tenant's CNCIs.
func agents(ctx context.Context, t *bat.T, tenant *bat.Tenant) []int {
	cncis, err := tenant.API.CNCIs(ctx)
	t.Need(err, "list CNCIs")
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	t.Need(err, "list processes")
	var pids []int
	for _, file := range files {
		line, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue
		}
		words := strings.Split(string(line), "\x00")
		for _, cnci := range cncis {
			if len(words) > 3 && filepath.Base(words[0]) == "ciao" && words[1] == "run" && words[2] == "cnci" && strings.Contains(string(line), cnci.ID) {
				pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
				t.Need(err, "read %s", file)
				pids = append(pids, pid)
			}
		}
	}
	return pids
}
