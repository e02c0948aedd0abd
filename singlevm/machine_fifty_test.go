package singlevm

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/cluster/driver/container"
	"github.com/ciaocloud/ciao/singlevm/machinetest"
)

const (
	fifty      = 50
	fiftyLimit = 2 * time.Minute // for one round to become as it was asked for
)

// mortals are the daemons that are killed while fifty containers start.
var mortals = []string{"scheduler", "launcher", "controller", "cnci", "dockerd"}

// orders are orders of killing. The first five are the rotations of one: each daemon has each place once, and of any two each comes
// before the other in some. One more is at random.
func orders(random *rand.Rand) [][]string {
	first := slices.Clone(mortals)
	random.Shuffle(len(first), func(i, j int) { first[i], first[j] = first[j], first[i] })
	var all [][]string
	for i := range first {
		all = append(all, append(slices.Clone(first[i:]), first[:i]...))
	}
	last := slices.Clone(first)
	random.Shuffle(len(last), func(i, j int) { last[i], last[j] = last[j], last[i] })
	return append(all, last)
}

// Fifty containers of one request, and every daemon killed while they start: there are fifty, none twice, and none after they are deleted.
func TestMachineFiftyContainersUnderKills(t *testing.T) {
	m := newMachine(t)
	random := rand.New(rand.NewPCG(seed(t), 1))
	m.must("setup")
	f := &fiftyContainers{m: m, blue: m.user("blue"), operator: m.user("admin")}
	for i, order := range orders(random) {
		f.round(i, order, random)
	}
	m.cleanupAfterKills()
	m.restored("fifty containers under kills")
}

// cleanupAfterKills starts the engine again first where that is needed: one whose calls of the network plugin were cut off by a launcher's
// death may count endpoints that are not there until then, and cleanup says so.
func (m *machine) cleanupAfterKills() {
	m.Helper()
	got := m.singlevm("cleanup")
	if got.code == 0 {
		return
	}
	if !strings.Contains(got.err, "restart it") {
		m.Fatalf("cleanup ended with %d: %s", got.code, got.err)
	}
	m.Logf("the engine is started again before cleanup, which said: %s", got.err)
	machinetest.KillEngine(m)()
	m.cleanup()
}

type fiftyContainers struct {
	m              *machine
	blue, operator *client.Client
	asked          []api.Instance
}

func (f *fiftyContainers) round(number int, order []string, random *rand.Rand) {
	t := f.m
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*fiftyLimit)
	defer cancel()
	began := time.Now()
	var err error
	if f.asked, err = f.blue.CreateInstances(ctx, api.CreateInstances{Workload: probeImage, Count: fifty, Name: "fifty"}); err != nil {
		t.Fatalf("round %d: ask for %d containers: %v", number, fifty, err)
	}
	for i, name := range order {
		f.running(1 + i*fifty/len(order) + random.IntN(5))
		f.kill(name)
	}
	killed := time.Since(began)
	f.settle(ctx)
	active := time.Since(began)
	f.exactlyFifty(ctx)
	f.deleteAll(ctx)
	t.Logf("round %d, %s: all killed after %.1f s, active after %.1f s, gone after %.1f s", number, strings.Join(order, " "),
		killed.Seconds(), active.Seconds(), time.Since(began).Seconds())
}

// running waits until the engine runs some containers, or for a moment: what was killed before may keep it from that.
func (f *fiftyContainers) running(count int) {
	for deadline := time.Now().Add(3 * time.Second); len(f.inEngine("status=running")) < count && time.Now().Before(deadline); {
		<-time.After(20 * time.Millisecond)
	}
}

// inEngine are the instances whose containers the engine has, one entry for each container.
func (f *fiftyContainers) inEngine(filter ...string) []string {
	args := []string{"ps", "-a", "--no-trunc", "--filter", "label=" + container.LabelCluster + "=" + ClusterName, "--format", `{{.Label "` + container.LabelInstance + `"}}`}
	for _, one := range filter {
		args = append(args, "--filter", one)
	}
	out, err := exec.Command("docker", args...).Output()
	if err != nil {
		return nil
	}
	return strings.Fields(string(out))
}

func (f *fiftyContainers) kill(name string) {
	if name == "dockerd" {
		machinetest.KillEngine(f.m)()
		return
	}
	machinetest.Kill(f.m, f.m.daemon(name)...)
}

// settle waits until all are active and the engine runs as many, and tells all that is known when that does not happen in time. The API
// alone may be behind: while the engine is down, instances keep the state that they had, and what the engine ended when it came back
// is started again.
func (f *fiftyContainers) settle(ctx context.Context) {
	t := f.m
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, fiftyLimit)
	defer cancel()
	for {
		_, err := f.blue.Wait(ctx, f.asked, client.Active, nil)
		if running := len(f.inEngine("status=running")); err == nil && running == fifty {
			if _, err = f.blue.Wait(ctx, f.asked, client.Active, nil); err == nil {
				return
			}
		}
		if ctx.Err() != nil || err != nil && !errors.Is(err, cluster.ErrUnavailable) {
			t.Fatalf("%d containers do not become active: %v\n%s", fifty, err, f.report())
		}
		<-time.After(50 * time.Millisecond)
	}
}

// report is all that is known of what went wrong.
func (f *fiftyContainers) report() string {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var text strings.Builder
	instances, err := f.blue.Instances(ctx, client.InstanceFilter{})
	fmt.Fprintf(&text, "%d instances in the API (%v); those that are not active:\n", len(instances), err)
	for _, i := range instances {
		if i.State != cluster.Active {
			fmt.Fprintf(&text, "  %s %s %s, wanted %s: %s\n", i.Name, i.ID, i.State, i.Desired, i.Reason)
		}
	}
	text.WriteString(f.m.report(ctx, "scheduler", "controller", "launcher"))
	return text.String()
}

// report is how the machine is, with the last lines of daemons' logs.
func (m *machine) report(ctx context.Context, daemons ...string) string {
	var text strings.Builder
	for _, what := range [][]string{{"docker", "ps", "-a"}, {m.program("singlevm"), "status"}} {
		out, err := exec.CommandContext(ctx, what[0], what[1:]...).CombinedOutput()
		fmt.Fprintf(&text, "%s (%v):\n%s", strings.Join(what, " "), err, out)
	}
	for _, daemon := range daemons {
		said := m.singlevm("logs", daemon, "-n", "60")
		fmt.Fprintf(&text, "log of %s:\n%s%s", daemon, said.out, said.err)
	}
	return text.String()
}

// exactlyFifty compares the API with the engine.
func (f *fiftyContainers) exactlyFifty(ctx context.Context) {
	t := f.m
	t.Helper()
	instances, err := f.blue.Instances(ctx, client.InstanceFilter{})
	if err != nil {
		t.Fatalf("list the instances: %v", err)
	}
	var ids []string
	seen := make(map[string]string) // addresses to who has them
	for _, i := range instances {
		ids = append(ids, i.ID)
		if i.State != cluster.Active || len(i.Addresses) != 2 { // one of each family
			t.Fatalf("%s is %s with addresses %v: %s\n%s", i.Name, i.State, i.Addresses, i.Reason, f.report())
		}
		for _, what := range []string{i.Addresses[0].String(), i.Addresses[1].String(), i.MAC} {
			if other := seen[what]; other != "" {
				t.Fatalf("%s and %s both have %s", i.Name, other, what)
			}
			seen[what] = i.Name
		}
	}
	slices.Sort(ids)
	for _, filter := range [][]string{nil, {"status=running"}} {
		if carriers := f.inEngine(filter...); !slices.Equal(slices.Sorted(slices.Values(carriers)), ids) || len(ids) != fifty {
			t.Fatalf("the API has %d instances, the engine %d containers %v of other or the same ones\n%s", len(ids), len(carriers), filter, f.report())
		}
	}
}

// deleteAll deletes all and waits until nothing is left of them anywhere.
func (f *fiftyContainers) deleteAll(ctx context.Context) {
	t := f.m
	t.Helper()
	_, err := f.blue.DeleteInstances(ctx, client.InstanceFilter{})
	if err == nil {
		_, err = f.blue.Wait(ctx, f.asked, client.Deleted, nil)
	}
	if err != nil {
		t.Fatalf("delete all: %v\n%s", err, f.report())
	}
	if left := f.inEngine(); len(left) > 0 {
		t.Fatalf("the engine still has containers of %v", left)
	}
	t.noPorts()
	quota, err := f.operator.Quota(ctx, "blue")
	if err != nil {
		t.Fatalf("ask for the quota: %v", err)
	}
	for _, item := range quota.Items {
		if item.Used != 0 {
			t.Fatalf("there are no instances and still %g of quota %s in use", item.Used, item.Name)
		}
	}
}

// noPorts waits until the node's namespace has no port any more: its network is converged on a moment after the instances are gone.
func (m *machine) noPorts() {
	m.Helper()
	machinetest.Eventually(m, "the node has no ports", settleLimit, func() bool {
		names, err := exec.Command("ip", "netns", "list").Output()
		if err != nil {
			return false
		}
		for line := range strings.Lines(string(names)) {
			name := strings.Fields(line)[0]
			if !strings.HasPrefix(name, "ciao-"+ClusterName) || strings.Contains(name, "-cnci-") {
				continue
			}
			links, err := exec.Command("ip", "-n", name, "-o", "link", "show", "type", "veth").Output()
			if err != nil || len(links) > 0 {
				return false
			}
		}
		return true
	})
}
