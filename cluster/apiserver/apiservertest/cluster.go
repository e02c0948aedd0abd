package apiservertest

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/driver/simulate"
	"github.com/ciaocloud/ciao/cluster/imagecache"
	"github.com/ciaocloud/ciao/cluster/launcher"
	"github.com/ciaocloud/ciao/cluster/network"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/cluster/scheduler"
	"github.com/ciaocloud/ciao/cluster/storage/local"
	"github.com/ciaocloud/ciao/cluster/stream"
	"github.com/ciaocloud/ciao/ssntp"
	"github.com/ciaocloud/ciao/ssntp/certs"
)

// NewCluster starts an API with a cluster behind it: a real scheduler and one node with a real launcher, whose instances (package
// driver/simulate) and network are simulated. It ends with the test.
func NewCluster(t *testing.T) *API {
	t.Helper()
	a := newAPI(t)
	hub := a.schedule()
	link, err := ssntp.NewClient(a.peer(hub, a.issue(certs.Node(ssntp.NewID(), ssntp.RoleController)), a.Controller))
	must(t, err)
	a.Controller.Attach(link, nil)
	a.background(a.Controller.Run)
	a.background(link.Run)
	a.launch(hub)
	return a
}

func (a *API) issue(subject certs.Subject) func() (*tls.Certificate, error) {
	a.t.Helper()
	pair, err := a.Authority.Issue(subject)
	must(a.t, err)
	return func() (*tls.Certificate, error) { return pair.TLS(), nil }
}

// peer is a connection to the hub.
func (a *API) peer(hub string, certificate func() (*tls.Certificate, error), handler ssntp.Handler) ssntp.ClientConfig {
	return ssntp.ClientConfig{Addresses: []string{hub}, Certificate: certificate, Roots: a.Authority.Pool(), Handler: handler}
}

// schedule runs a scheduler and returns its address.
func (a *API) schedule() string {
	a.t.Helper()
	service, err := scheduler.New(scheduler.Config{
		Server: ssntp.ServerConfig{Certificate: a.issue(certs.Node(ssntp.NewID(), ssntp.RoleScheduler, "127.0.0.1")), Roots: a.Authority.Pool()},
		Settle: time.Nanosecond,
	})
	must(a.t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(a.t, err)
	a.background(func(ctx context.Context) error { return service.Run(ctx, listener) })
	return listener.Addr().String()
}

// Clinging begins the names of virtual machines that do not let go of a volume when they are first asked to.
const Clinging = "clinging"

// launch runs a launcher for both roles, in zone a.
func (a *API) launch(hub string) {
	a.t.Helper()
	certificate := a.issue(certs.Node(ssntp.NewID(), ssntp.RoleAgent|ssntp.RoleNetAgent))
	link, err := launcher.NewLink(a.peer(hub, certificate, nil))
	must(a.t, err)
	streams := stream.Dialer{Roots: a.Authority.Pool(), Certificate: certificate}
	transport := streams.HTTP()
	a.t.Cleanup(transport.CloseIdleConnections)
	images, err := imagecache.Open(filepath.Join(a.directory, "node-images"), 1<<30, &http.Client{Transport: transport})
	must(a.t, err)
	volumes, err := local.Open(filepath.Join(a.directory, "node-volumes"))
	must(a.t, err)
	concentrators := simulate.New(simulate.NewEngine(simulate.Config{Kind: cluster.KindCNCI}))
	machines := simulate.New(simulate.NewEngine(simulate.Config{Kind: cluster.KindVM, Failures: []simulate.Failure{
		{Name: Clinging + "*", Step: simulate.Detach, Err: fmt.Errorf("%w: the guest does not let go of it", cluster.ErrConflict), Times: 1},
	}}))
	service, err := launcher.New(launcher.Config{
		Link: link, Directory: a.t.TempDir(), Network: silentNetwork{}, Hostname: "simulated", Version: "test",
		Labels:     map[string]string{"zone": "a"},
		Drivers:    []driver.Driver{simulate.New(simulate.NewEngine(simulate.Config{})), machines, agents{Driver: concentrators, api: a, hub: hub}},
		Statistics: 50 * time.Millisecond, Streams: streams, Images: images, Storage: volumes,
	})
	must(a.t, err)
	a.background(service.Run)
}

// silentNetwork is a node's network that is always as wanted.
type silentNetwork struct{}

func (silentNetwork) Apply(context.Context, network.Node) (network.NodeFacts, error) {
	return network.NodeFacts{Underlay: netip.MustParseAddr("192.0.2.7"), MTU: 1450}, nil
}

func (silentNetwork) Remove(context.Context) error { return nil }

// agents runs CNCIs whose agents say that everything is as wanted.
type agents struct {
	*simulate.Driver
	api *API
	hub string
}

func (d agents) Start(ctx context.Context, id string) error {
	parsed, err := ssntp.ParseID(id)
	if err != nil {
		return err
	}
	agent := &agent{id: id}
	link, err := ssntp.NewClient(d.api.peer(d.hub, d.api.issue(certs.Node(parsed, ssntp.RoleCNCIAgent)), agent))
	if err != nil {
		return err
	}
	agent.link = link
	d.api.background(link.Run)
	return d.Driver.Start(ctx, id)
}

type agent struct {
	id   string
	link *ssntp.Client
}

func (a *agent) Connected(ctx context.Context, _ ssntp.Identity, _ bool) { a.report(ctx, 0) }

func (a *agent) Disconnected(context.Context, error) {}

func (a *agent) Receive(ctx context.Context, f ssntp.Frame) {
	if wanted, err := payload.Decode[payload.Configure](f.Payload); err == nil && wanted.Concentrator != nil {
		a.report(ctx, wanted.Concentrator.Revision)
	}
}

func (a *agent) report(ctx context.Context, revision uint64) {
	data, err := payload.Encode(payload.ConcentratorState{Concentrator: a.id, Revision: revision, Underlay: netip.MustParseAddr("192.0.2.8")})
	if err == nil {
		_ = a.link.Send(ctx, ssntp.Frame{Operand: ssntp.ConcentratorState, Payload: data}) // a lost report is asked for again
	}
}

// background runs something until the test ends.
func (a *API) background(run func(context.Context) error) {
	ctx, stop := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() {
		if err := run(ctx); err != nil {
			a.t.Error(err)
		}
	})
	a.t.Cleanup(func() {
		stop()
		group.Wait()
	})
}
