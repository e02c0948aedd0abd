package cnci

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/network"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/ssntp"
)

// fake is a network that notes what is wanted, and a link that notes what is reported.
type fake struct {
	mu       sync.Mutex
	applied  []network.Concentrator
	reported []payload.ConcentratorState
	fail     error
	address  netip.Addr
	refused  []network.Unclaimed
}

func newFake() *fake { return &fake{address: netip.MustParseAddr("198.51.100.70")} }

func (f *fake) Apply(_ context.Context, wanted network.Concentrator) (network.ConcentratorFacts, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.applied = append(f.applied, wanted)
	if f.fail != nil {
		return network.ConcentratorFacts{}, f.fail
	}
	return network.ConcentratorFacts{Underlay: f.address, Unclaimed: f.refused}, nil
}

func (f *fake) Remove(context.Context) error { return nil }

func (f *fake) Send(_ context.Context, frame ssntp.Frame) error {
	state, err := payload.Decode[payload.ConcentratorState](frame.Payload)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reported = append(f.reported, state)
	return err
}

// take returns what was noted since the last call.
func (f *fake) take() (domains []string, reported []payload.ConcentratorState) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, wanted := range f.applied {
		domains = append(domains, wanted.Domain)
	}
	reported = f.reported
	f.applied, f.reported = nil, nil
	return domains, reported
}

func (f *fake) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// state has the revision as its domain, so that a test sees which one was applied.
func state(revision uint64) ssntp.Frame {
	body, err := payload.Encode(payload.Configure{Concentrator: &payload.Concentrator{
		Revision: revision, Subnet: "subnet", Tenant: "tenant", Key: 7, Prefix: netip.MustParsePrefix("172.16.0.0/24"), Gateway: netip.MustParseAddr("172.16.0.1"),
		Domain: fmt.Sprint("r", revision), Nodes: []netip.Addr{netip.MustParseAddr("198.51.100.60")},
		Hosts: []payload.Host{{Instance: "i", Name: "web", MAC: "02:00:ac:10:00:02", Addresses: []netip.Addr{netip.MustParseAddr("172.16.0.2")}, Node: netip.MustParseAddr("198.51.100.60"), LoginPort: 33002,
			Ports: []payload.HostPort{{Published: 53, Port: 5353, UDP: true}, {Published: 80, Port: 8080, External: true}}},
			{Instance: "j", Name: "placeless", MAC: "02:00:ac:10:00:03", Addresses: []netip.Addr{netip.MustParseAddr("172.16.0.3")}}},
		Mappings: []payload.Mapping{{External: netip.MustParseAddr("198.51.100.20"), Internal: netip.MustParseAddr("172.16.0.2")}},
		Lent:     []netip.Prefix{netip.MustParsePrefix("198.51.100.16/28")},
	}})
	if err != nil {
		panic(err)
	}
	return ssntp.Frame{Operand: ssntp.Configure, Payload: body}
}

// run starts an agent; the returned function ends it.
func run(t *testing.T, f *fake, directory string) (agent *Agent, end func()) {
	t.Helper()
	agent = New(Config{Instance: "cnci", Directory: directory, Network: f, Link: f, Blocked: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- agent.Run(ctx) }()
	return agent, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func expect(t *testing.T, f *fake, domains []string, reported ...payload.ConcentratorState) {
	t.Helper()
	synctest.Wait()
	gotDomains, gotReported := f.take()
	if diff := cmp.Diff(domains, gotDomains, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("applied (-want +got):\n%s", diff)
	}
	equal := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	if diff := cmp.Diff(reported, gotReported, cmpopts.EquateEmpty(), equal); diff != "" {
		t.Errorf("reported (-want +got):\n%s", diff)
	}
}

func (f *fake) report(revision uint64, problem string) payload.ConcentratorState {
	return payload.ConcentratorState{Concentrator: "cnci", Revision: revision, Underlay: f.address, Problem: problem}
}

func TestAgentAppliesTheNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		agent, end := run(t, f, t.TempDir())
		defer end()
		agent.Connected()
		expect(t, f, nil, payload.ConcentratorState{Concentrator: "cnci"})
		agent.Receive(state(5))
		expect(t, f, []string{"r5"}, f.report(5, ""))
		agent.Receive(state(4)) // older: ignored, and answered
		expect(t, f, nil, f.report(5, ""))
		agent.Receive(state(5)) // the controller missed the report
		expect(t, f, nil, f.report(5, ""))
		agent.Receive(state(7))
		expect(t, f, []string{"r7"}, f.report(7, ""))
		agent.Receive(state(6))
		expect(t, f, nil, f.report(7, ""))
		agent.Receive(ssntp.Frame{Operand: ssntp.Configure, Payload: []byte("nonsense")})
		agent.Receive(ssntp.Frame{Operand: ssntp.Start})
		expect(t, f, nil)
	})
}

func TestAgentPassesEverythingOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		agent, end := run(t, f, t.TempDir())
		defer end()
		agent.Receive(state(1))
		synctest.Wait()
		want := network.Concentrator{
			Subnet: network.Subnet{ID: "subnet", Tenant: "tenant", Key: 7, Prefix: netip.MustParsePrefix("172.16.0.0/24"),
				Gateway: netip.MustParseAddr("172.16.0.1"), Peers: []netip.Addr{netip.MustParseAddr("198.51.100.60")},
				Neighbours: []network.Neighbour{{MAC: "02:00:ac:10:00:02", Node: netip.MustParseAddr("198.51.100.60")}}},
			Domain: "r1", Blocked: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
			Hosts: []network.Host{{Name: "web", MAC: "02:00:ac:10:00:02", Addresses: []netip.Addr{netip.MustParseAddr("172.16.0.2")}, LoginPort: 33002,
				Ports: []network.HostPort{{Published: 53, Port: 5353, UDP: true}, {Published: 80, Port: 8080, External: true}}},
				{Name: "placeless", MAC: "02:00:ac:10:00:03", Addresses: []netip.Addr{netip.MustParseAddr("172.16.0.3")}}},
			Mappings: []network.Mapping{{External: netip.MustParseAddr("198.51.100.20"), Internal: netip.MustParseAddr("172.16.0.2")}},
			Lent:     []netip.Prefix{netip.MustParsePrefix("198.51.100.16/28")},
		}
		if diff := cmp.Diff([]network.Concentrator{want}, f.applied, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
			t.Errorf("wanted of the network (-want +got):\n%s", diff)
		}
	})
}

// A new agent makes what the last one knew before it hears from anybody, and does not go back.
func TestAgentStartsFromWhatIsStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, directory := newFake(), t.TempDir()
		agent, end := run(t, f, directory)
		agent.Receive(state(5))
		expect(t, f, []string{"r5"}, f.report(5, ""))
		end()
		agent, end = run(t, f, directory)
		defer end()
		expect(t, f, []string{"r5"})
		agent.Connected()
		expect(t, f, nil, f.report(5, ""))
		agent.Receive(state(4))
		expect(t, f, nil, f.report(5, ""))
		info, err := os.Stat(filepath.Join(directory, stateFile))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("state file: %v, %v", info, err)
		}
	})
}

func TestAgentGoesOnWithoutADamagedState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, directory := newFake(), t.TempDir()
		if err := os.WriteFile(filepath.Join(directory, stateFile), []byte{0xff}, 0o600); err != nil {
			t.Fatal(err)
		}
		agent, end := run(t, f, directory)
		defer end()
		agent.Receive(state(1))
		expect(t, f, []string{"r1"}, f.report(1, ""))
	})
}

// What cannot be kept is not applied, and what was applied before stays, until it can.
func TestAgentGoesOnWhenItsDiskFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, directory := newFake(), t.TempDir()
		agent, end := run(t, f, directory)
		defer end()
		agent.Receive(state(1))
		expect(t, f, []string{"r1"}, f.report(1, ""))
		obstacle := filepath.Join(directory, stateFile+".new")
		if err := os.Mkdir(obstacle, 0o700); err != nil {
			t.Fatal(err)
		}
		agent.Receive(state(2))
		synctest.Wait()
		if domains, reported := f.take(); len(domains) > 0 || len(reported) != 1 || reported[0].Revision != 1 || reported[0].Problem == "" {
			t.Errorf("applied %v, reported %+v", domains, reported)
		}
		agent.Receive(state(3)) // a newer one takes its place
		synctest.Wait()
		f.take()
		if err := os.Remove(obstacle); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * firstRetry)
		expect(t, f, []string{"r3"}, f.report(3, ""))
	})
}

func TestAgentTriesAgainAndSaysWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.fail = fmt.Errorf("no DHCP server answers: %w", cluster.ErrUnavailable)
		agent, end := run(t, f, t.TempDir())
		defer end()
		agent.Receive(state(1))
		expect(t, f, []string{"r1"}, payload.ConcentratorState{Concentrator: "cnci", Problem: "no DHCP server answers: unavailable"})
		time.Sleep(firstRetry)
		expect(t, f, []string{"r1"}) // the same trouble is not told twice
		f.set(func() { f.fail = nil })
		time.Sleep(2 * firstRetry)
		expect(t, f, []string{"r1"}, f.report(1, ""))
	})
}

// An external address that somebody else has is reported, and tried again until it is free.
func TestAgentReportsUnclaimedAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		external := netip.MustParseAddr("198.51.100.20")
		f.refused = []network.Unclaimed{{External: external, Problem: "in use"}}
		agent, end := run(t, f, t.TempDir())
		defer end()
		agent.Receive(state(1))
		refused := f.report(1, "")
		refused.Unclaimed = []payload.Unclaimed{{External: external, Problem: "in use"}}
		expect(t, f, []string{"r1"}, refused)
		time.Sleep(firstRetry)
		expect(t, f, []string{"r1"}) // the same is not told twice
		f.set(func() { f.refused = nil })
		time.Sleep(2 * firstRetry)
		expect(t, f, []string{"r1"}, f.report(1, ""))
		time.Sleep(defaultRepair / 2)
		expect(t, f, nil)
	})
}

func TestAgentRepairs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		agent, end := run(t, f, t.TempDir())
		defer end()
		agent.Receive(state(1))
		expect(t, f, []string{"r1"}, f.report(1, ""))
		time.Sleep(defaultRepair)
		expect(t, f, []string{"r1"}) // nothing has changed
		f.set(func() { f.address = netip.MustParseAddr("198.51.100.71") })
		time.Sleep(defaultRepair)
		expect(t, f, []string{"r1"}, f.report(1, ""))
	})
}
