package launcher_test

import (
	"context"
	"encoding/json"
	"errors"
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
	"github.com/ciaocloud/ciao/cluster/launcher"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/ssntp"
	"github.com/ciaocloud/ciao/ssntp/certs"
)

// names stand for namespaces: agents run in the test's own.
type names struct {
	mu  sync.Mutex
	all map[string]bool
}

func (n *names) Create(_ context.Context, id string) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all[id] = true
	return "", nil
}

func (n *names) Remove(_ context.Context, id string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.all, id)
	return nil
}

func (n *names) List(context.Context) ([]string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var ids []string
	for id := range n.all {
		ids = append(ids, id)
	}
	return ids, nil
}

// sign answers the newest request as the controller does.
func (w *world) sign(n *node, refuse string) {
	w.Helper()
	var asked payload.CertificateRequest
	w.eventually("a certificate request", func() bool {
		if len(w.requests) == 0 {
			return false
		}
		asked, w.requests = w.requests[0], nil
		return true
	})
	answer := payload.Certificate{Instance: asked.Instance, Refused: refuse}
	if refuse == "" {
		id, err := ssntp.ParseID(asked.Instance)
		if err == nil {
			answer.Chain, err = w.ca.Authority().Sign(asked.CSR, certs.Node(id, ssntp.RoleCNCIAgent))
		}
		if err != nil {
			w.Fatal(err)
		}
	}
	w.send(ssntp.Certificate, n.id.String(), answer)
}

// networkNode is a node that runs CNCIs, their agents being sleeping shells.
func (w *world) networkNode() (n *node, spaces *names) {
	n, spaces = w.node(), &names{all: map[string]bool{}}
	n.roles = ssntp.RoleNetAgent
	return n, spaces
}

func (n *node) runConcentrators(spaces *names) {
	n.Helper()
	link := n.link()
	d, err := concentrator.New(concentrator.Config{
		Instances: launcher.InstancesDirectory(filepath.Join(n.dir, "launcher")), Namespaces: spaces, Issuer: link,
		Command: func(concentrator.Agent) ([]string, error) { return []string{"sleep", "3600"}, nil },
	})
	if err != nil {
		n.Fatal(err)
	}
	n.drivers = []driver.Driver{d}
	n.mu.Lock()
	before := len(n.listed)
	n.mu.Unlock()
	n.runWith(link)
	n.eventually("an inventory", func() bool { return len(n.listed) > before })
}

func newCNCI() payload.Start {
	spec := cluster.WorkloadSpec{Kind: cluster.KindCNCI, Requirements: cluster.Requirements{VCPUs: 100, MemoryMiB: 64}}
	return payload.Start{Instance: uuid.NewString(), Generation: 1, Name: "cnci", Tenant: "t", Kind: cluster.KindCNCI, Spec: spec.WithDefaults()}
}

// agent reads the process id of a CNCI's agent.
func (n *node) agent(id string) int {
	n.Helper()
	data, err := os.ReadFile(filepath.Join(launcher.InstancesDirectory(filepath.Join(n.dir, "launcher")), id, "concentrator", "processes"))
	if err != nil {
		n.Fatal(err)
	}
	var fields []string
	for field := range strings.FieldsSeq(string(data)) {
		fields = append(fields, field)
	}
	pid, err := strconv.Atoi(fields[3]) // boot id, script and its start, agent and its start
	if err != nil {
		n.Fatal(err)
	}
	return pid
}

// A CNCI gets its certificate over SSNTP, outlives the launcher, is started again when it dies, and leaves nothing.
func TestConcentrator(t *testing.T) {
	w := newWorld(t)
	n, spaces := w.networkNode()
	n.runConcentrators(spaces)
	s := newCNCI()
	w.send(ssntp.Start, n.id.String(), s)
	w.sign(n, "")
	w.becomes(s.Instance, cluster.Active)
	before := n.agent(s.Instance)

	n.stop()
	w.mu.Lock()
	clear(w.states)
	w.mu.Unlock()
	n.runConcentrators(spaces)
	w.becomes(s.Instance, cluster.Active)
	if n.agent(s.Instance) != before {
		t.Error("a restart of the launcher started another agent")
	}

	if err := syscall.Kill(before, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	w.eventually("a restart", func() bool {
		history := w.history[s.Instance]
		return len(history) > 2 && history[len(history)-1] == cluster.Active && history[len(history)-2] == cluster.Starting
	})
	if n.agent(s.Instance) == before {
		t.Error("the dead agent was not started again")
	}

	last := n.agent(s.Instance)
	w.send(ssntp.Delete, n.id.String(), payload.Delete{Instance: s.Instance, Generation: 1})
	w.becomes(s.Instance, cluster.Gone)
	if err := syscall.Kill(last, 0); err == nil || len(spaces.all) > 0 || len(n.instances()) > 0 {
		t.Errorf("left: agent (%v), namespaces %v, directories %v", err, spaces.all, n.instances())
	}
}

func TestConcentratorIsRefusedACertificate(t *testing.T) {
	w := newWorld(t)
	n, spaces := w.networkNode()
	n.runConcentrators(spaces)
	s := newCNCI()
	w.send(ssntp.Start, n.id.String(), s)
	w.sign(n, "no such CNCI")
	if report := w.becomes(s.Instance, cluster.Failed); report.Reason == "" {
		t.Errorf("report is %+v", report)
	}
}

func TestConcentratorNeedsTheRole(t *testing.T) {
	w := newWorld(t)
	n := w.node()
	n.roles = ssntp.RoleAgent
	n.run()
	s := newCNCI()
	w.send(ssntp.Start, n.id.String(), s)
	if report := w.becomes(s.Instance, cluster.Failed); !report.Retry {
		t.Errorf("report is %+v", report)
	}
}

func TestIssueEndsWithItsContext(t *testing.T) {
	w := newWorld(t)
	n, spaces := w.networkNode()
	n.runConcentrators(spaces)
	link := n.link()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := link.Issue(ctx, uuid.NewString(), []byte("request")); !errors.Is(err, cluster.ErrUnavailable) {
		t.Errorf("issue without an answer: %v", err)
	}
}

// Statistics and inventories are JSON-clean values: what the API shows is what nodes send.
func TestStatistics(t *testing.T) {
	w := newWorld(t)
	n := w.node()
	n.run()
	var sample cluster.NodeStatistics
	w.eventually("a sample", func() bool {
		if len(w.samples) > 0 {
			sample = w.samples[len(w.samples)-1]
		}
		return len(w.samples) > 0
	})
	if _, err := json.Marshal(sample); err != nil || sample.Node != n.id.String() || sample.CPUs < 1 || sample.Disk.TotalMiB <= 0 || sample.Load < 0 {
		t.Errorf("sample is %+v, %v", sample, err)
	}
}
