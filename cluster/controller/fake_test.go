package controller

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/ssntp"
)

// fakeCluster is a scheduler, launchers and CNCI agents, as seen over the link. It delivers frames in order, one at a time, as far as its
// hooks let it, and checks on the way what must never happen.
type fakeCluster struct {
	mu      sync.Mutex
	handler ssntp.Handler // of the present controller
	ctx     context.Context
	queue   []delivery
	wake    chan struct{}

	id       ssntp.ID // of the scheduler
	nodes    map[string]*fakeNode
	order    []string              // of nodes: the scheduler's preference
	agents   map[string]*fakeAgent // by CNCI
	started  map[string]string     // instance/generation → the one node that was told to start it
	refuse   func(payload.PlacementRequest) *payload.PlacementFailure
	onStart  func(node string, s payload.Start) (state cluster.State, reason string, retry bool) // zero: it comes up
	onStream func(node string, o payload.OpenStream)                                             // called beside the others
	orders   []volumeOrder                                                                       // of volumes
	onChange func(node string, o payload.VolumeOrder) (refusal string)                           // empty: it is done
	drop     func(n int, f ssntp.Frame, toController bool) bool
	frames   int
	seen     []string      // operands, in order
	problems []string      // what must never happen
	pace     time.Duration // what things take
	slow     time.Duration // how long the hub takes for one report

	problem   string              // of every CNCI: it applies nothing
	elsewhere map[netip.Addr]bool // addresses that others on the underlay have
}

// volumeOrder is what a node was told about a volume.
type volumeOrder struct {
	node string
	payload.VolumeOrder
}

type delivery struct {
	frame        ssntp.Frame
	toController bool
}

type fakeNode struct {
	id        string
	roles     []cluster.NodeRole
	underlay  netip.Addr
	labels    map[string]string
	connected bool
	closed    bool // in maintenance
	instances map[string]*fakeInstance
	graves    map[string]uint64
	paths     map[string]payload.SubnetPaths
	volumes   map[string]string // of running instances → instance
	changes   map[string]payload.VolumeReport
	kept      []string // volumes on its disk, by no order; deleting one takes it away
}

type fakeInstance struct {
	payload.InstanceReport
	want cluster.Desired
}

type fakeAgent struct {
	node     string
	revision uint64
	hosts    int
	underlay netip.Addr
	mappings []payload.Mapping             // applied
	ports    map[string][]payload.HostPort // applied, by names of hosts
}

func newFakeCluster(ctx context.Context) *fakeCluster {
	f := &fakeCluster{
		ctx: ctx, wake: make(chan struct{}, 1), id: ssntp.NewID(), nodes: map[string]*fakeNode{}, agents: map[string]*fakeAgent{},
		started: map[string]string{}, pace: 10 * time.Millisecond,
	}
	go f.run()
	return f
}

// addNode adds a connected node with both roles.
func (f *fakeCluster) addNode(n int) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	node := &fakeNode{
		id:    fmt.Sprintf("00000000-0000-4000-8000-%012x", n),
		roles: []cluster.NodeRole{cluster.Compute, cluster.Network}, underlay: netip.AddrFrom4([4]byte{198, 51, 100, byte(n)}),
		connected: true, instances: map[string]*fakeInstance{}, graves: map[string]uint64{}, paths: map[string]payload.SubnetPaths{},
		volumes: map[string]string{}, changes: map[string]payload.VolumeReport{},
	}
	f.nodes[node.id] = node
	f.order = append(f.order, node.id)
	f.announce(node)
	return node.id
}

// Send implements Link.
func (f *fakeCluster) Send(_ context.Context, frame ssntp.Frame) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch frame.Operand {
	case ssntp.Start, ssntp.Stop, ssntp.Delete:
		command := decoded[payload.Delete](frame) // what the three have in common
		if frame.Trace == nil || ssntp.ID(frame.Trace.TraceID).String() != command.Instance || binary.BigEndian.Uint64(frame.Trace.ParentID[:]) != command.Generation {
			return fmt.Errorf("%v of %s cannot be followed: %+v", frame.Operand, command.Instance, frame.Trace)
		}
	}
	f.push(delivery{frame: frame})
	return nil
}

func (f *fakeCluster) push(d delivery) {
	f.queue = append(f.queue, d)
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// tell queues a frame for the controller; mu is held.
func (f *fakeCluster) tell(source string, operand ssntp.Operand, body any) {
	data, err := payload.Encode(body)
	id, err2 := ssntp.ParseID(source)
	if err != nil || err2 != nil {
		panic(fmt.Sprint(err, err2))
	}
	f.push(delivery{ssntp.Frame{Operand: operand, Source: id, Payload: data}, true})
}

// attach makes c the controller of the cluster, as a new connection would.
func (f *fakeCluster) attach(c *Controller) {
	f.mu.Lock()
	f.handler = c
	f.mu.Unlock()
	c.Connected(f.ctx, ssntp.Identity{}, false)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range f.order {
		if node := f.nodes[id]; node.connected {
			f.tell(f.id.String(), ssntp.NodeConnected, payload.NodeConnected{Node: id, Roles: node.roles})
		}
	}
}

func (f *fakeCluster) run() {
	for {
		select {
		case <-f.ctx.Done():
			return
		case <-f.wake:
		}
		for {
			f.mu.Lock()
			if len(f.queue) == 0 {
				f.mu.Unlock()
				break
			}
			d := f.queue[0]
			f.queue = f.queue[1:]
			f.frames++
			f.seen = append(f.seen, d.frame.Operand.String())
			dropped := f.drop != nil && f.drop(f.frames, d.frame, d.toController)
			handler, slow := f.handler, f.slow
			if !dropped && !d.toController {
				f.deliver(d.frame)
			}
			f.mu.Unlock()
			if d.frame.Operand == ssntp.InstanceState && slow > 0 {
				select {
				case <-time.After(slow):
				case <-f.ctx.Done():
				}
			}
			if !dropped && d.toController && handler != nil {
				handler.Receive(f.ctx, d.frame)
			}
		}
	}
}

// deliver hands a command to whom it is for; mu is held.
func (f *fakeCluster) deliver(frame ssntp.Frame) {
	to := frame.Destination.String()
	if frame.Operand == ssntp.Place {
		f.place(decoded[payload.Place](frame))
		return
	}
	if agent := f.agents[to]; agent != nil && f.nodes[agent.node].connected {
		f.applied(to, agent, *decoded[payload.Configure](frame).Concentrator)
		return
	}
	node := f.nodes[to]
	if node == nil || !node.connected {
		f.undeliverable(frame)
		return
	}
	switch frame.Operand {
	case ssntp.Start:
		f.start(node, decoded[payload.Start](frame))
	case ssntp.Stop:
		f.stop(node, decoded[payload.Stop](frame))
	case ssntp.Delete:
		f.delete(node, decoded[payload.Delete](frame))
	case ssntp.RequestInventory:
		f.inventory(node)
	case ssntp.Evacuate:
		node.closed = true
		f.tell(node.id, ssntp.Maintenance, f.status(node))
	case ssntp.Restore:
		node.closed = false
		f.tell(node.id, ssntp.Ready, f.status(node))
	case ssntp.Volume:
		f.volume(node, decoded[payload.VolumeOrder](frame))
	case ssntp.OpenStream:
		if f.onStream != nil {
			go f.onStream(node.id, decoded[payload.OpenStream](frame))
		}
	case ssntp.Configure:
		for _, p := range decoded[payload.Configure](frame).Subnets {
			f.learn(node, p)
		}
	}
}

// learn says whether a node could follow the news of a subnet; else it asks for all.
func (f *fakeCluster) learn(node *fakeNode, news payload.SubnetPaths) (follows bool) {
	if node.paths[news.ID], follows = node.paths[news.ID].Follow(news); !follows {
		f.tell(node.id, ssntp.RequestPaths, payload.RequestPaths{Subnets: []string{news.ID}})
	}
	return follows
}

func decoded[T any](frame ssntp.Frame) T {
	body, err := payload.Decode[T](frame.Payload)
	if err != nil {
		panic(err)
	}
	return body
}

func (f *fakeCluster) undeliverable(frame ssntp.Frame) {
	b := binary.BigEndian.AppendUint16(nil, uint16(frame.Operand))
	b = append(b, frame.Destination[:]...)
	b = append(append(b, make([]byte, 10)...), frame.Payload...)
	f.push(delivery{ssntp.Frame{Operand: ssntp.Undeliverable, Source: f.id, Payload: b}, true})
}

func (f *fakeCluster) place(body payload.Place) {
	var placed payload.Placed
	load := map[string]int{}
	for id, node := range f.nodes {
		load[id] = len(node.instances)
	}
	for _, request := range body.Requests {
		if f.refuse != nil {
			if failure := f.refuse(request); failure != nil {
				failure.Instance, failure.Generation = request.Instance, request.Generation
				f.tell(f.id.String(), ssntp.PlacementFailure, failure)
				continue
			}
		}
		chosen := ""
		for _, id := range f.order {
			if node := f.nodes[id]; node.connected && !node.closed && !slices.Contains(request.Avoid, id) && slices.Contains(node.roles, request.Role) &&
				(request.Beside == "" || request.Beside == id) && (request.Node == "" || request.Node == id) && // it knows nothing of groups beyond that
				(chosen == "" || load[id] < load[chosen]) {
				chosen = id
			}
		}
		if chosen == "" {
			f.tell(f.id.String(), ssntp.PlacementFailure, payload.PlacementFailure{
				Instance: request.Instance, Generation: request.Generation, Reason: "no node has room",
			})
			continue
		}
		load[chosen]++
		placed.Decisions = append(placed.Decisions, payload.Decision{
			Instance: request.Instance, Generation: request.Generation, Node: chosen, Explanation: "least instances",
		})
	}
	if placed.Decisions != nil {
		f.tell(f.id.String(), ssntp.Placed, placed)
	}
}

func (f *fakeCluster) start(node *fakeNode, s payload.Start) {
	if s.Kind != cluster.KindCNCI && !f.learn(node, s.Network.Subnet) {
		return
	}
	key := fmt.Sprint(s.Instance, "/", s.Generation)
	other, again := f.started[key]
	if again && other != node.id {
		f.problems = append(f.problems, fmt.Sprintf("%s was started on %s and on %s", key, other, node.id))
	}
	f.started[key] = node.id
	if s.Kind != cluster.KindCNCI && !again && !s.Network.Subnet.Concentrator.IsValid() { // its CNCI may move while it starts
		f.problems = append(f.problems, key+" was started before its network was ready")
	}
	if grave, ok := node.graves[s.Instance]; ok && s.Generation <= grave {
		f.tell(node.id, ssntp.InstanceState, payload.InstanceReport{Instance: s.Instance, Generation: s.Generation, State: cluster.Gone})
		return
	}
	i := node.instances[s.Instance]
	if i != nil && (s.Generation < i.Generation || s.Generation == i.Generation) {
		f.tell(node.id, ssntp.InstanceState, i.InstanceReport)
		return
	}
	i = &fakeInstance{want: cluster.WantActive, InstanceReport: payload.InstanceReport{
		Instance: s.Instance, Generation: s.Generation, Tenant: s.Tenant, Kind: s.Kind, State: cluster.Starting,
	}}
	node.instances[s.Instance] = i
	maps.DeleteFunc(node.volumes, func(_, instance string) bool { return instance == s.Instance })
	for _, v := range s.Volumes {
		node.volumes[v.ID] = s.Instance
	}
	if f.onStart != nil {
		if state, reason, retry := f.onStart(node.id, s); state != "" {
			i.State, i.Reason, i.Retry = state, reason, retry
			f.tell(node.id, ssntp.InstanceState, i.InstanceReport)
			return
		}
	}
	f.tell(node.id, ssntp.InstanceState, i.InstanceReport)
	f.later(func() {
		if node.instances[s.Instance] == i && i.Generation == s.Generation && i.want == cluster.WantActive {
			f.checkOnlyCopy(node, s.Instance)
			i.State = cluster.Active
			f.report(node, i)
			f.startAgent(node, s)
		}
	})
}

// volume follows an order about a volume, as a launcher does.
func (f *fakeCluster) volume(node *fakeNode, o payload.VolumeOrder) {
	f.orders = append(f.orders, volumeOrder{node.id, o})
	report := payload.VolumeReport{Volume: o.Volume.ID, State: cluster.VolumeAvailable}
	switch change := o.Change; {
	case o.Stray && node.volumes[o.Volume.ID] != "" && node.instances[node.volumes[o.Volume.ID]] != nil:
		report.State, report.Stray = cluster.VolumeAttached, true
	case o.Stray && !slices.Contains(node.kept, o.Volume.ID):
		return
	case change == nil && o.Delete:
		node.kept = slices.DeleteFunc(node.kept, func(id string) bool { return id == o.Volume.ID })
		report.State, report.Stray = cluster.VolumeGone, o.Stray
	case change != nil:
		last, known := node.changes[o.Volume.ID]
		i := node.instances[change.Instance]
		switch {
		case i == nil || i.State != cluster.Active || i.Generation != change.Generation || known && change.Revision < last.Revision:
			return
		case known && change.Revision == last.Revision:
			report = last
		default:
			report = f.changeVolume(node, o)
		}
		node.changes[o.Volume.ID] = report
	}
	f.tell(node.id, ssntp.VolumeState, report)
}

func (f *fakeCluster) changeVolume(node *fakeNode, o payload.VolumeOrder) payload.VolumeReport {
	report := payload.VolumeReport{Volume: o.Volume.ID, Revision: o.Change.Revision, State: cluster.VolumeAttached}
	if f.onChange != nil {
		if refusal := f.onChange(node.id, o); refusal != "" {
			report.State, report.Reason = cluster.VolumeFailed, refusal
			return report
		}
	}
	node.volumes[o.Volume.ID] = o.Change.Instance
	if o.Change.Detach {
		delete(node.volumes, o.Volume.ID)
		report.State = cluster.VolumeAvailable
	}
	return report
}

func (f *fakeCluster) checkOnlyCopy(node *fakeNode, id string) {
	for _, other := range f.nodes {
		if i := other.instances[id]; other != node && i != nil && i.State == cluster.Active {
			f.problems = append(f.problems, id+" runs on two nodes")
		}
	}
}

// later does something after the time that things take.
func (f *fakeCluster) later(do func()) {
	time.AfterFunc(f.pace, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.ctx.Err() == nil {
			do()
		}
	})
}

func (f *fakeCluster) report(node *fakeNode, i *fakeInstance) {
	if node.connected {
		f.tell(node.id, ssntp.InstanceState, i.InstanceReport)
	}
}

func (f *fakeCluster) stop(node *fakeNode, s payload.Stop) {
	i := node.instances[s.Instance]
	if i == nil {
		f.tell(node.id, ssntp.InstanceState, payload.InstanceReport{Instance: s.Instance, Generation: s.Generation, State: cluster.Gone})
		return
	}
	if s.Generation > i.Generation || s.Generation == i.Generation && i.want == cluster.WantActive {
		i.want, i.Generation = cluster.WantStopped, s.Generation
		i.State = cluster.Stopping
		f.later(func() {
			if node.instances[s.Instance] == i && i.want == cluster.WantStopped {
				i.State = cluster.Stopped
				f.report(node, i)
			}
		})
	}
	f.tell(node.id, ssntp.InstanceState, i.InstanceReport)
}

func (f *fakeCluster) delete(node *fakeNode, d payload.Delete) {
	i := node.instances[d.Instance]
	if i != nil && d.Generation < i.Generation {
		f.tell(node.id, ssntp.InstanceState, i.InstanceReport)
		return
	}
	delete(node.instances, d.Instance)
	delete(f.agents, d.Instance)
	node.graves[d.Instance] = max(node.graves[d.Instance], d.Generation)
	f.tell(node.id, ssntp.InstanceState, payload.InstanceReport{Instance: d.Instance, Generation: d.Generation, State: cluster.Gone})
}

func (f *fakeCluster) status(node *fakeNode) payload.NodeStatus {
	return payload.NodeStatus{
		Hostname: "node-" + node.id[len(node.id)-2:], Roles: node.roles, Kinds: []cluster.Kind{cluster.KindContainer, cluster.KindVM, cluster.KindCNCI},
		Underlay: []netip.Addr{node.underlay}, Capacity: cluster.Resources{CPU: 8000, MemoryMiB: 8192}, Labels: node.labels,
	}
}

func (f *fakeCluster) inventory(node *fakeNode) {
	body := payload.Inventory{State: cluster.NodeReady, Node: f.status(node)}
	if node.closed {
		body.State = cluster.NodeMaintenance
	}
	var reports []payload.InstanceReport
	for _, i := range node.instances {
		reports = append(reports, i.InstanceReport)
	}
	slices.SortFunc(reports, func(a, b payload.InstanceReport) int { return compareText(a.Instance, b.Instance) })
	const part = 3
	body.Parts = max(1, (len(reports)+part-1)/part)
	for body.Part = range body.Parts {
		if body.Part == body.Parts-1 {
			body.Volumes = slices.Clone(node.kept)
		}
		body.Instances = reports[body.Part*part : min(len(reports), (body.Part+1)*part)]
		f.tell(node.id, ssntp.Inventory, body)
	}
}

// announce is what follows a node's connection.
func (f *fakeCluster) announce(node *fakeNode) {
	f.tell(f.id.String(), ssntp.NodeConnected, payload.NodeConnected{Node: node.id, Roles: node.roles})
	f.inventory(node)
	for id, agent := range f.agents {
		if agent.node == node.id {
			f.agentReport(id, agent)
		}
	}
}

// disconnect takes a node away; what it runs goes on.
func (f *fakeCluster) disconnect(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.nodes[id].connected = false
	f.tell(f.id.String(), ssntp.NodeDisconnected, payload.NodeDisconnected{Node: id})
}

func (f *fakeCluster) reconnect(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.nodes[id].connected = true
	f.announce(f.nodes[id])
}

func (f *fakeCluster) startAgent(node *fakeNode, s payload.Start) {
	if s.Kind != cluster.KindCNCI {
		return
	}
	agent := &fakeAgent{node: node.id, underlay: node.underlay.Next()}
	f.agents[s.Instance] = agent
	f.agentReport(s.Instance, agent)
}

func (f *fakeCluster) agentReport(id string, agent *fakeAgent) {
	state := payload.ConcentratorState{Concentrator: id, Revision: agent.revision, Underlay: agent.underlay, Problem: f.problem}
	for _, m := range agent.mappings {
		if f.elsewhere[m.External] {
			state.Unclaimed = append(state.Unclaimed, payload.Unclaimed{External: m.External, Problem: "in use elsewhere"})
		}
	}
	f.tell(id, ssntp.ConcentratorState, state)
}

func (f *fakeCluster) applied(id string, agent *fakeAgent, wanted payload.Concentrator) {
	f.later(func() {
		if f.agents[id] != agent {
			return
		}
		if wanted.Revision > agent.revision && f.problem == "" {
			agent.revision, agent.hosts, agent.mappings = wanted.Revision, len(wanted.Hosts), wanted.Mappings
			agent.ports = f.portsOf(wanted.Hosts)
		}
		if f.nodes[agent.node].connected {
			f.agentReport(id, agent)
		}
	})
}

// portsOf are the published ports of hosts, of which no two share one of the CNCI.
func (f *fakeCluster) portsOf(hosts []payload.Host) map[string][]payload.HostPort {
	ports, taken := map[string][]payload.HostPort{}, map[payload.HostPort]string{}
	for _, host := range hosts {
		ports[host.Name] = host.Ports
		for _, port := range host.Ports {
			number := payload.HostPort{Published: port.Published, UDP: port.UDP}
			if other, is := taken[number]; is && !port.External {
				f.problems = append(f.problems, fmt.Sprintf("port %d of a CNCI is to lead to %s and to %s", port.Published, other, host.Name))
			}
			if !port.External {
				taken[number] = host.Name
			}
		}
	}
	return ports
}

// live counts the tenants' instances that run on nodes.
func (f *fakeCluster) live() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, node := range f.nodes {
		for _, i := range node.instances {
			if i.State == cluster.Active && i.Kind != cluster.KindCNCI {
				n++
			}
		}
	}
	return n
}

// held counts everything that nodes have, CNCIs too.
func (f *fakeCluster) held() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, node := range f.nodes {
		n += len(node.instances)
	}
	return n
}

// with runs something under the lock.
func (f *fakeCluster) with(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
}

type fakeIssuer struct{}

func (fakeIssuer) Issue(_ context.Context, id string, csr []byte) ([]byte, error) {
	return append([]byte("signed "+id+" "), csr...), nil
}
