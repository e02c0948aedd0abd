package scheduler_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/cluster/scheduler"
	"github.com/ciaocloud/ciao/ssntp"
	"github.com/ciaocloud/ciao/ssntp/ssntptest"
)

// hub is a scheduler on loopback that can be killed and started again with the same address.
type hub struct {
	testing.TB
	ca       *ssntptest.CA
	id       ssntp.ID
	address  string
	stop     func()
	settings scheduler.Config
}

func newHub(t testing.TB) *hub {
	h := &hub{TB: t, ca: ssntptest.NewCA(t), id: ssntp.NewID(), address: "127.0.0.1:0"}
	h.run()
	return h
}

func (h *hub) run() {
	h.Helper()
	config := h.settings
	config.Server = ssntp.ServerConfig{Certificate: ssntptest.Source(h.ca.Certificate(h.id, ssntp.RoleScheduler)), Roots: h.ca.Roots()}
	service, err := scheduler.New(config)
	if err != nil {
		h.Fatal(err)
	}
	listener, err := net.Listen("tcp", h.address)
	if err != nil {
		h.Fatal(err)
	}
	h.address = listener.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() {
		if err := service.Run(ctx, listener); err != nil {
			h.Errorf("scheduler: %v", err)
		}
	})
	h.stop = func() {
		cancel()
		group.Wait()
	}
	h.Cleanup(func() { h.stop() })
}

// peer is a client with a log of what it hears.
type peer struct {
	*hub
	*ssntp.Client
	log *ssntptest.Log
}

func (h *hub) peer(roles ssntp.Role) *peer {
	h.Helper()
	log := new(ssntptest.Log)
	client, _ := ssntptest.RunClient(h, ssntp.ClientConfig{
		Addresses: []string{h.address}, Certificate: ssntptest.Source(h.ca.Certificate(ssntp.NewID(), roles)),
		Roots: h.ca.Roots(), Handler: log.Handler(),
	})
	log.Connected(h)
	return &peer{h, client, log}
}

func (p *peer) send(operand ssntp.Operand, body any) {
	p.Helper()
	data, err := payload.Encode(body)
	if err == nil {
		err = p.Send(context.Background(), ssntp.Frame{Operand: operand, Payload: data})
	}
	if err != nil {
		p.Fatal(err)
	}
}

// hears waits for the next frame of an operand.
func hears[T any](p *peer, operand ssntp.Operand) T {
	p.Helper()
	body, err := payload.Decode[T](p.log.Frame(p, operand).Payload)
	if err != nil {
		p.Fatal(err)
	}
	return body
}

// isPlaced asks until there is a node, as a controller does: it may hear of an inventory before the scheduler has counted it.
func (p *peer) isPlaced(request payload.Place) {
	p.Helper()
	p.send(ssntp.Place, request)
	for {
		switch p.log.Next(p).Frame.Operand {
		case ssntp.Placed:
			return
		case ssntp.PlacementFailure:
			p.send(ssntp.Place, request)
		}
	}
}

func status(memory int64) payload.NodeStatus {
	return payload.NodeStatus{
		Hostname: "h", Roles: []cluster.NodeRole{cluster.Compute}, Kinds: []cluster.Kind{cluster.KindContainer},
		Capacity: cluster.Resources{CPU: 2 * cluster.VCPU, MemoryMiB: memory},
	}
}

func requests(count int, memory int64) payload.Place {
	var place payload.Place
	for range count {
		place.Requests = append(place.Requests, payload.PlacementRequest{
			Instance: uuid.NewString(), Generation: 1, Kind: cluster.KindContainer, Role: cluster.Compute,
			Resources: cluster.Resources{CPU: 10, MemoryMiB: memory},
		})
	}
	return place
}

func TestPlaceManyInOneFrame(t *testing.T) {
	h := newHub(t)
	controller, node := h.peer(ssntp.RoleController), h.peer(ssntp.RoleAgent)
	node.send(ssntp.Inventory, payload.Inventory{State: cluster.NodeReady, Node: status(1500)})
	controller.log.Frame(t, ssntp.Inventory)
	place := requests(1600, 1)
	controller.send(ssntp.Place, place)
	var placed []string
	for len(placed) < 1500 {
		for _, decision := range hears[payload.Placed](controller, ssntp.Placed).Decisions {
			if decision.Node != node.Identity().ID.String() {
				t.Fatalf("decision is %+v", decision)
			}
			placed = append(placed, decision.Instance)
		}
	}
	for i := range 100 {
		failure := hears[payload.PlacementFailure](controller, ssntp.PlacementFailure)
		if failure.Instance != place.Requests[1500+i].Instance || failure.Nodes != 1 || failure.Permanent {
			t.Fatalf("failure is %+v", failure)
		}
	}
	if !slices.Equal(placed, ids(place.Requests[:1500])) {
		t.Error("decisions are not those of the first 1500 requests, in order")
	}
}

func ids(requests []payload.PlacementRequest) []string {
	var ids []string
	for _, request := range requests {
		ids = append(ids, request.Instance)
	}
	return ids
}

func TestLongInventory(t *testing.T) {
	h := newHub(t)
	controller, node := h.peer(ssntp.RoleController), h.peer(ssntp.RoleAgent)
	there := payload.InstanceReport{Instance: uuid.NewString(), Generation: 1, State: cluster.Active, Resources: cluster.Resources{MemoryMiB: 60}}
	more := there
	more.Instance = uuid.NewString()
	send := func(part int, reports ...payload.InstanceReport) {
		node.send(ssntp.Inventory, payload.Inventory{State: cluster.NodeReady, Node: status(150), Instances: reports, Part: part, Parts: 2})
		controller.log.Frame(t, ssntp.Inventory)
	}
	send(0, there)
	controller.send(ssntp.Place, requests(1, 1))
	if failure := hears[payload.PlacementFailure](controller, ssntp.PlacementFailure); failure.Refusals[0].Filter != "inventory" {
		t.Errorf("half an inventory is good for %+v", failure)
	}
	send(1, more)
	place := requests(2, 30)
	controller.send(ssntp.Place, place)
	if got := hears[payload.Placed](controller, ssntp.Placed).Decisions; len(got) != 1 {
		t.Errorf("decisions are %+v, want one: 30 of 150 MiB are left", got)
	}
}

func TestNodesComeAndGo(t *testing.T) {
	h := newHub(t)
	first := h.peer(ssntp.RoleController)
	log := new(ssntptest.Log)
	both := ssntp.RoleAgent | ssntp.RoleNetAgent
	node, stop := ssntptest.RunClient(t, ssntp.ClientConfig{
		Addresses: []string{h.address}, Certificate: ssntptest.Source(h.ca.Certificate(ssntp.NewID(), both)),
		Roots: h.ca.Roots(), Handler: log.Handler(),
	})
	connected := hears[payload.NodeConnected](first, ssntp.NodeConnected)
	if connected.Node != node.Identity().ID.String() || !slices.Equal(connected.Roles, []cluster.NodeRole{cluster.Compute, cluster.Network}) {
		t.Errorf("event is %+v", connected)
	}
	second := h.peer(ssntp.RoleController) // learns of those that are there
	if again := hears[payload.NodeConnected](second, ssntp.NodeConnected); again.Node != connected.Node {
		t.Errorf("event is %+v", again)
	}
	stop()
	for _, controller := range []*peer{first, second} {
		if gone := hears[payload.NodeDisconnected](controller, ssntp.NodeDisconnected); gone.Node != connected.Node {
			t.Errorf("event is %+v", gone)
		}
	}
}

// A scheduler that was killed knows nothing, and places nothing, until the nodes have told it what they have.
func TestRestart(t *testing.T) {
	h := newHub(t)
	controller, node := h.peer(ssntp.RoleController), h.peer(ssntp.RoleAgent)
	// The node has said nothing yet: what a scheduler had not acknowledged would be sent to its successor.
	h.stop()
	h.run()
	for _, p := range []*peer{controller, node} {
		if event := p.log.Connected(t); event.Resumed {
			t.Errorf("%v: the new scheduler resumed a session that it cannot know", p.Identity())
		}
	}
	hears[payload.NodeConnected](controller, ssntp.NodeConnected)
	controller.send(ssntp.Place, requests(1, 1))
	failure := hears[payload.PlacementFailure](controller, ssntp.PlacementFailure)
	if failure.Permanent {
		t.Errorf("failure is %+v", failure)
	}
	node.send(ssntp.Inventory, payload.Inventory{State: cluster.NodeReady, Node: status(100)})
	controller.log.Frame(t, ssntp.Inventory)
	controller.isPlaced(requests(1, 1))
}

// A body that is not CBOR hurts nobody but its sender.
func TestBrokenBodies(t *testing.T) {
	h := newHub(t)
	controller, node := h.peer(ssntp.RoleController), h.peer(ssntp.RoleAgent)
	for _, operand := range []ssntp.Operand{ssntp.Inventory, ssntp.Ready, ssntp.InstanceState} {
		if err := node.Send(t.Context(), ssntp.Frame{Operand: operand, Payload: []byte{0xff, 0x00}}); err != nil {
			t.Fatal(err)
		}
	}
	node.send(ssntp.Inventory, payload.Inventory{State: cluster.NodeReady, Node: status(100), Part: 7, Parts: 3})
	node.send(ssntp.Inventory, payload.Inventory{State: cluster.NodeReady, Node: status(100)})
	for range 3 {
		controller.log.Frame(t, ssntp.Inventory)
	}
	controller.isPlaced(requests(1, 1))
}

// BenchmarkPlaceOverSSNTP is the whole question and answer, 100 requests in a frame, over loopback with one node.
func BenchmarkPlaceOverSSNTP(b *testing.B) {
	h := newHub(b)
	controller, node := h.peer(ssntp.RoleController), h.peer(ssntp.RoleAgent)
	node.send(ssntp.Inventory, payload.Inventory{State: cluster.NodeReady, Node: status(1 << 40)})
	controller.log.Frame(b, ssntp.Inventory)
	place := requests(100, 1)
	for i := range place.Requests {
		place.Requests[i].Resources.CPU = 0
	}
	for i := 0; b.Loop(); i++ {
		for j := range place.Requests {
			place.Requests[j].Generation = uint64(i + 2)
		}
		controller.send(ssntp.Place, place)
		if got := hears[payload.Placed](controller, ssntp.Placed).Decisions; len(got) != 100 {
			b.Fatal(fmt.Sprint("decisions: ", len(got)))
		}
	}
	b.ReportMetric(float64(100*b.N)/b.Elapsed().Seconds(), "decisions/s")
}
