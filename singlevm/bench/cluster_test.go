package bench

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/require"
	"github.com/ciaocloud/ciao/singlevm"
)

// commandLimit guards against what never ends.
const commandLimit = 5 * time.Minute

// machine is this machine and the programs that `make build` made.
type machine struct {
	testing.TB
	root string // of the sources
}

// newMachine needs the machine for itself, without a cluster.
func newMachine(b *testing.B) *machine {
	b.Helper()
	require.Machine(b)
	require.Docker(b)
	root, err := filepath.Abs("../..")
	if err != nil {
		b.Fatal(err)
	}
	if _, err := os.Stat(singlevm.DefaultDirectory); err == nil {
		b.Fatalf("a cluster is here already (%s): `singlevm cleanup` removes it", singlevm.DefaultDirectory)
	}
	m := &machine{TB: b, root: root}
	b.Cleanup(func() { m.run(m.program("singlevm"), "cleanup") })
	return m
}

func (m *machine) program(name string) string { return filepath.Join(m.root, "bin", name) }

// run runs a program in the folder of the sources and says how long it took.
func (m *machine) run(program string, args ...string) time.Duration {
	m.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit) // clean-ups run after the benchmark's context has ended
	defer cancel()
	command := exec.CommandContext(ctx, program, args...)
	command.Dir = m.root
	var said bytes.Buffer
	command.Stdout, command.Stderr = &said, &said
	begun := time.Now()
	if err := command.Run(); err != nil {
		m.Fatalf("%v: %v\n%s", command.Args, err, said.Bytes())
	}
	return time.Since(begun)
}

func (m *machine) singlevm(verb string) time.Duration {
	m.Helper()
	return m.run(m.program("singlevm"), verb)
}

// operator is the user that setup makes for operators.
func (m *machine) operator() *client.Client {
	m.Helper()
	users := filepath.Join(singlevm.DefaultDirectory, "users")
	c, err := client.New(client.Config{Controller: "198.51.100.1", Certificate: filepath.Join(users, "admin.pem"), CA: filepath.Join(users, "ca.pem")})
	if err != nil {
		m.Fatal(err)
	}
	m.Cleanup(c.Close)
	return c
}

// tenant makes a tenant with one instance that runs, so that its network is there, and acts for it.
func (m *machine) tenant(ctx context.Context, operator *client.Client, workload string) *client.Client {
	m.Helper()
	made, err := operator.CreateTenant(ctx, api.CreateTenant{Name: "bench"})
	if err != nil {
		m.Fatal(err)
	}
	c := operator.ForTenant(made.ID)
	keeper, err := c.CreateInstances(ctx, api.CreateInstances{Workload: workload, Count: 1, Name: "keeper"})
	if err == nil {
		_, err = c.Wait(ctx, keeper, client.Active, nil)
	}
	if err != nil {
		m.Fatal(err)
	}
	return c
}

// medians collects what rounds measured, and reports the median of each.
type medians struct {
	names  []string
	values map[string][]float64
}

func (m *medians) add(name string, value float64) {
	if m.values == nil {
		m.values = map[string][]float64{}
	}
	if _, known := m.values[name]; !known {
		m.names = append(m.names, name)
	}
	m.values[name] = append(m.values[name], value)
}

func (m *medians) of(name string) float64 {
	sorted := slices.Sorted(slices.Values(m.values[name]))
	return sorted[len(sorted)/2]
}

func (m *medians) report(b *testing.B) {
	for _, name := range m.names {
		b.ReportMetric(m.of(name), name)
	}
	b.ReportMetric(0, "ns/op") // rounds are of many things; their time alone says nothing
}
