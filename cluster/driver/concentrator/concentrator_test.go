package concentrator_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/driver/concentrator"
	"github.com/ciaocloud/ciao/cluster/driver/drivertest"
	"github.com/ciaocloud/ciao/ssntp"
	"github.com/ciaocloud/ciao/ssntp/certs"
)

// spaces are namespaces that are only names: agents run in the test's own.
type spaces struct {
	mu    sync.Mutex
	names map[string]bool
}

func (s *spaces) Create(_ context.Context, id string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names[id] = true
	return "", nil
}

func (s *spaces) Remove(_ context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.names, id)
	return nil
}

func (s *spaces) List(context.Context) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for name := range s.names {
		names = append(names, name)
	}
	return names, nil
}

// issuer signs as the controller does.
type issuer struct {
	authority *certs.Authority
	mu        sync.Mutex
	asked     int
	fail      error
}

func (i *issuer) Issue(_ context.Context, instance string, csr []byte) ([]byte, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.asked++
	if i.fail != nil {
		return nil, i.fail
	}
	id, err := ssntp.ParseID(instance)
	if err != nil {
		return nil, err
	}
	return i.authority.Sign(csr, certs.Node(id, ssntp.RoleCNCIAgent))
}

func newIssuer(t *testing.T) *issuer {
	authority, err := certs.NewAuthority("test", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return &issuer{authority: authority}
}

// settings are of a driver whose agents are shell commands.
func settings(t *testing.T) concentrator.Config {
	return concentrator.Config{
		Instances:  t.TempDir(),
		Namespaces: &spaces{names: map[string]bool{}},
		Issuer:     newIssuer(t),
		Command: func(agent concentrator.Agent) ([]string, error) {
			return agent.Arguments, nil
		},
	}
}

func open(t *testing.T, config concentrator.Config) *concentrator.Driver {
	t.Helper()
	made, err := concentrator.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func instance() driver.Instance {
	spec := cluster.WorkloadSpec{Kind: cluster.KindCNCI, Command: []string{"sleep", "3600"}}
	return driver.Instance{ID: uuid.NewString(), Generation: 1, Name: "cnci", Tenant: "t", Kind: cluster.KindCNCI, Spec: spec.WithDefaults()}
}

// ordinary shows agents as the suite expects instances: one that ended with a code ended by itself, while to the launcher every agent
// that was not asked to end was interrupted.
type ordinary struct{ *concentrator.Driver }

func (o ordinary) Status(ctx context.Context, id string) (driver.Status, error) {
	status, err := o.Driver.Status(ctx, id)
	status.Interrupted = status.Interrupted && status.ExitCode == nil
	return status, err
}

func (o ordinary) List(ctx context.Context) ([]driver.Status, error) {
	all, err := o.Driver.List(ctx)
	for i := range all {
		all[i].Interrupted = all[i].Interrupted && all[i].ExitCode == nil
	}
	return all, err
}

func TestConformance(t *testing.T) {
	drivertest.Run(t, func(t *testing.T) drivertest.Harness {
		config, deaf := settings(t), filepath.Join(t.TempDir(), "deaf")
		return drivertest.Harness{
			Driver:   ordinary{open(t, config)},
			Reopen:   func(t *testing.T) driver.Driver { return ordinary{open(t, config)} },
			Instance: func(*testing.T) driver.Instance { return instance() },
			Port:     func(*testing.T, driver.Instance) {},
			Exit:     func(code int) []string { return []string{"sh", "-c", "exit " + strconv.Itoa(code)} },
			Stubborn: []string{"sh", "-c", "trap '' TERM; : >'" + deaf + "'; while :; do sleep 1; done"},
			Deaf: func(*testing.T, driver.Instance) bool {
				_, err := os.Stat(deaf)
				return err == nil
			},
			Interrupt: func(t *testing.T) {
				for _, pids := range processes(t, config.Instances) {
					for _, pid := range pids {
						syscall.Kill(pid, syscall.SIGKILL)
					}
				}
			},
		}
	})
}

// processes reads the noted processes of all concentrators that run: script first, then agent.
func processes(t *testing.T, instances string) map[string][]int {
	t.Helper()
	found := map[string][]int{}
	files, err := filepath.Glob(filepath.Join(instances, "*", "concentrator", "processes"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		dir := filepath.Dir(file)
		if _, err := os.Stat(filepath.Join(dir, "exit")); err == nil {
			continue
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(strings.TrimSpace(string(data)), "\n")[1:] {
			var pid int
			if _, err := fmt.Sscan(line, &pid); err != nil {
				t.Fatalf("%s: %q: %v", file, line, err)
			}
			found[filepath.Base(filepath.Dir(dir))] = append(found[filepath.Base(filepath.Dir(dir))], pid)
		}
	}
	return found
}

func begin(t *testing.T, d *concentrator.Driver, i driver.Instance) {
	t.Helper()
	if err := d.Create(t.Context(), i, nil); err != nil {
		t.Fatalf("create: %v", err)
	}
	t.Cleanup(func() { d.Delete(context.Background(), i.ID) })
	if err := d.Start(t.Context(), i.ID); err != nil {
		t.Fatalf("start: %v", err)
	}
}

func becomes(t *testing.T, d driver.Driver, id string, want driver.Condition) driver.Status {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(drivertest.Patience)
	for {
		status, err := d.Status(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if status.Condition == want {
			return status
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%+v does not become %s", status, want)
		}
	}
}

// An agent that ends by itself, with whatever code, is for the launcher to start again.
func TestDeadAgentIsInterrupted(t *testing.T) {
	d, i := open(t, settings(t)), instance()
	i.Spec.Command = []string{"sh", "-c", "echo cannot go on; exit 4"}
	begin(t, d, i)
	status := becomes(t, d, i.ID, driver.Ended)
	if !status.Interrupted || status.ExitCode == nil || *status.ExitCode != 4 || !strings.Contains(status.Reason, "cannot go on") {
		t.Errorf("status is %+v", status)
	}
}

// When the script alone is killed, its agent goes on; the next start must not leave two of them.
func TestAgentWithoutScriptIsReplaced(t *testing.T) {
	config := settings(t)
	d, i := open(t, config), instance()
	begin(t, d, i)
	before := processes(t, config.Instances)[i.ID]
	if err := syscall.Kill(before[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if status := becomes(t, d, i.ID, driver.Ended); !status.Interrupted {
		t.Errorf("status is %+v", status)
	}
	if err := d.Start(t.Context(), i.ID); err != nil {
		t.Fatal(err)
	}
	after := processes(t, config.Instances)[i.ID]
	if after[1] == before[1] || alive(before[1]) {
		t.Errorf("agent %d lives beside agent %d", before[1], after[1])
	}
}

// alive says whether a process runs; one that is only yet to be reaped does not.
func alive(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(data), ") Z ")
}

// Starts that race make one agent.
func TestRacingStarts(t *testing.T) {
	config := settings(t)
	d, other, i := open(t, config), open(t, config), instance()
	marks := filepath.Join(t.TempDir(), "marks")
	i.Spec.Command = []string{"sh", "-c", "echo x >>" + marks + "; exec sleep 3600"}
	if err := d.Create(t.Context(), i, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Delete(context.Background(), i.ID) })
	var all sync.WaitGroup
	for n := range 16 {
		all.Go(func() {
			if err := []*concentrator.Driver{d, other}[n%2].Start(t.Context(), i.ID); err != nil {
				t.Errorf("start: %v", err)
			}
			if _, err := d.List(t.Context()); err != nil {
				t.Errorf("list: %v", err)
			}
		})
	}
	all.Wait()
	becomes(t, d, i.ID, driver.Running)
	for deadline := time.Now().Add(drivertest.Patience); ; time.Sleep(time.Millisecond) { // it may be asked to end before its first instruction
		if data, _ := os.ReadFile(marks); len(data) > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no agent left a mark")
		}
	}
	if err := d.Stop(t.Context(), i.ID, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(marks); err != nil || len(data) != 2 {
		t.Errorf("agents left %q (%v), want the mark of one", data, err)
	}
}

func TestIdentity(t *testing.T) {
	config := settings(t)
	controller := config.Issuer.(*issuer)
	d, i := open(t, config), instance()
	refusal := fmt.Errorf("%w: no controller", cluster.ErrUnavailable)
	controller.fail = refusal
	if err := d.Create(t.Context(), i, nil); !errors.Is(err, cluster.ErrUnavailable) {
		t.Fatalf("create without a controller: %v", err)
	}
	controller.fail = nil
	for range 2 {
		if err := d.Create(t.Context(), i, nil); err != nil {
			t.Fatal(err)
		}
	}
	if controller.asked != 2 {
		t.Errorf("asked %d times, want once in vain and once for good", controller.asked)
	}
	dir := filepath.Join(config.Instances, i.ID, "concentrator")
	pair, err := certs.Load(filepath.Join(dir, "certificate.pem"), filepath.Join(dir, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	identity, err := ssntp.IdentityOf(pair.Certificate)
	if err != nil || identity.ID.String() != i.ID || identity.Roles != ssntp.RoleCNCIAgent {
		t.Errorf("identity is %v, %v", identity, err)
	}
	for _, name := range []string{"key.pem", "certificate.pem", "carrier.json"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v; want mode 0600", name, info.Mode(), err)
		}
	}
	if err := d.Delete(t.Context(), i.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("after delete the directory is there: %v", err)
	}
}

// A launcher whose program is new replaces the agents that its predecessor started, and only those.
func TestOlderEditionIsReplaced(t *testing.T) {
	config := settings(t)
	config.Edition = "old"
	i := instance()
	begin(t, open(t, config), i)
	before := processes(t, config.Instances)[i.ID]

	again := open(t, config)
	if status := becomes(t, again, i.ID, driver.Running); status.Interrupted {
		t.Errorf("an agent of the same edition is reported as %+v", status)
	}
	config.Edition = "new"
	renewed := open(t, config)
	if status := becomes(t, renewed, i.ID, driver.Ended); !status.Interrupted {
		t.Errorf("an agent of an older edition is reported as %+v, want it interrupted", status)
	}
	if err := renewed.Start(t.Context(), i.ID); err != nil {
		t.Fatal(err)
	}
	becomes(t, renewed, i.ID, driver.Running)
	after := processes(t, config.Instances)[i.ID]
	if len(after) != 2 || after[0] == before[0] || after[1] == before[1] {
		t.Errorf("script and agent were %v and are %v, want both replaced", before, after)
	}
	if syscall.Kill(before[1], 0) == nil {
		t.Errorf("the older agent, process %d, still runs", before[1])
	}
}
