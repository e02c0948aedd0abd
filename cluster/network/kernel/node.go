package kernel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/network"
	"github.com/ciaocloud/ciao/cluster/network/firewall"
	"github.com/ciaocloud/ciao/cluster/network/netns"
)

// NodeConfig is what a node's network is made from.
type NodeConfig struct {
	Cluster string
	Node    string // id of the node
	Parent  string // link to the underlay in the host's namespace: a bridge such as ciao_br, or a physical NIC

	Address netip.Prefix // the node's address on the underlay; zero asks the underlay's DHCP server
	Router  netip.Addr   // default route of a static address; zero has none

	Host   string // path of the namespace that has Parent; empty is the process's own
	Engine string // path of the namespace in which the engine looks for its ends of ports; empty is the process's own

	// Control are the places that Dial is for; what others on the underlay send to the node is dropped.
	Control []netip.AddrPort

	Final bool // Remove does not give the address back: the underlay goes with it, and its DHCP server may have gone before

	Log *slog.Logger
}

// repairEvery is how often the kernel is compared with what is wanted.
const repairEvery = 30 * time.Second

// Node is the network of one node: a namespace with a macvlan on the underlay, bridges, VXLAN devices and ports.
type Node struct {
	config NodeConfig
	gate   chan struct{} // holds one token: guards what follows, and puts calls in order
	opened *openedNode
	last   *network.Node // what was wanted last
}

// openedNode is a namespace in use.
type openedNode struct {
	namespace *os.File
	engine    *os.File
	space     *space
	underlay  *underlay
	converger *network.Converger
}

// NewNode makes the network of a node; the kernel is first touched by Apply or Remove. Run must run beside it.
func NewNode(config NodeConfig) *Node {
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	return &Node{config: config, gate: make(chan struct{}, 1)}
}

// Namespace is the path of the node's network namespace: it exists after the first Apply.
func (n *Node) Namespace() string {
	return netns.Path(network.NodeNamespace(n.config.Cluster, n.config.Node))
}

// Apply implements network.NodeNetwork.
func (n *Node) Apply(ctx context.Context, wanted network.Node) (network.NodeFacts, error) {
	facts, wait, err := n.start(ctx, &wanted)
	if err == nil {
		err = wait(ctx)
	}
	if err != nil {
		return network.NodeFacts{}, fmt.Errorf("network of node %s: %w", n.config.Node, err)
	}
	return facts, nil
}

// start makes what the image stands on, and joins a pass; nil wants again what was wanted last.
func (n *Node) start(ctx context.Context, wanted *network.Node) (facts network.NodeFacts, wait func(context.Context) error, err error) {
	if err := enter(ctx, n.gate); err != nil {
		return facts, nil, err
	}
	defer leave(n.gate)
	if wanted == nil || (n.last != nil && wanted.Revision < n.last.Revision) {
		wanted = n.last
	}
	if wanted == nil {
		return facts, func(context.Context) error { return nil }, nil
	}
	opened, err := n.open()
	if err != nil {
		return facts, nil, err
	}
	prefix, mtu, err := opened.underlay.ready(ctx)
	if err != nil {
		return facts, nil, err
	}
	image, err := network.NodeImage(network.Site{Cluster: n.config.Cluster, Underlay: prefix, MTU: mtu, Control: n.config.Control}, *wanted)
	if err != nil {
		return facts, nil, err
	}
	n.last = wanted
	return network.NodeFacts{Underlay: prefix.Addr(), MTU: mtu - network.Overhead}, opened.converger.Start(image), nil
}

// open makes the namespace and its link to the underlay, or finds them as they were left. It is called with the gate held.
func (n *Node) open() (*openedNode, error) {
	host, err := netns.Open(n.config.Host)
	if err != nil {
		return nil, err
	}
	defer host.Close()
	if n.opened == nil || !netns.Same(n.opened.namespace, n.Namespace()) {
		n.close()
		if n.opened, err = n.openNamespace(); err != nil {
			return nil, err
		}
	}
	if n.opened.underlay.there() {
		return n.opened, nil
	}
	mark := network.Mark(n.config.Cluster, "node", n.config.Node)
	err = addUnderlay(host, n.opened.namespace, n.config.Parent, network.UnderlayMAC(n.config.Cluster, n.config.Node), mark)
	return n.opened, err
}

func (n *Node) openNamespace() (*openedNode, error) {
	namespace, err := markedNamespace(network.NodeNamespace(n.config.Cluster, n.config.Node), n.mark())
	if err != nil {
		return nil, err
	}
	engine, err := netns.Open(n.config.Engine)
	if err != nil {
		return nil, errors.Join(err, namespace.Close())
	}
	space, err := openSpace(namespace, engine)
	if err != nil {
		return nil, errors.Join(err, namespace.Close(), engine.Close())
	}
	return &openedNode{
		namespace: namespace, engine: engine, space: space,
		underlay:  &underlay{namespace: namespace, links: space.links, static: n.config.Address, router: n.config.Router, log: n.config.Log},
		converger: network.NewConverger(space),
	}, nil
}

func (n *Node) mark() string { return network.Mark(n.config.Cluster, "node", n.config.Node) }

// close gives the opened namespace back, after the last pass in it.
func (n *Node) close() {
	if n.opened == nil {
		return
	}
	n.opened.converger.Wait()
	n.opened.space.close()
	n.opened.namespace.Close()
	n.opened.engine.Close()
	n.opened = nil
}

// Run renews the lease of the underlay address and repairs what was changed behind our back, until ctx ends.
func (n *Node) Run(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	repair := time.Now().Add(repairEvery)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if changed := n.renew(ctx); changed || time.Now().After(repair) {
			n.repair(ctx)
			repair = time.Now().Add(repairEvery)
		}
	}
}

func (n *Node) renew(ctx context.Context) (changed bool) {
	if enter(ctx, n.gate) != nil {
		return false
	}
	defer leave(n.gate)
	return n.opened != nil && n.opened.underlay.keep(ctx)
}

func (n *Node) repair(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, repairEvery)
	defer cancel()
	n.forget(ctx)
	_, wait, err := n.start(ctx, nil)
	if err == nil {
		err = wait(ctx)
	}
	if err != nil && ctx.Err() == nil {
		n.config.Log.Warn("the node's network cannot be repaired; trying again", "err", err)
	}
}

func (n *Node) forget(ctx context.Context) {
	if enter(ctx, n.gate) != nil {
		return
	}
	defer leave(n.gate)
	if n.opened != nil {
		n.opened.converger.Forget()
	}
}

// Remove implements network.NodeNetwork.
func (n *Node) Remove(ctx context.Context) error {
	if err := enter(ctx, n.gate); err != nil {
		return err
	}
	defer leave(n.gate)
	n.close()
	n.last = nil
	err := endNamespace(network.NodeNamespace(n.config.Cluster, n.config.Node), []string{n.mark()}, func(namespace *os.File) error {
		if n.config.Final {
			return nil
		}
		return releaseUnderlay(ctx, namespace, n.config.Address, n.config.Log)
	})
	if err != nil {
		return fmt.Errorf("remove the network of node %s: %w", n.config.Node, err)
	}
	return nil
}

// Heard implements network.Listener.
func (n *Node) Heard(ctx context.Context) ([]string, error) {
	if err := enter(ctx, n.gate); err != nil {
		return nil, err
	}
	defer leave(n.gate)
	if n.opened == nil || n.last == nil {
		return nil, nil
	}
	tables, err := firewall.OpenTables(int(n.opened.namespace.Fd()))
	if err != nil {
		return nil, unavailable("listen to guests", err)
	}
	defer tables.Close()
	links, err := tables.TakeNoted(network.TableID{Family: "bridge", Name: network.TableName}, network.HeardSet)
	if err != nil {
		return nil, unavailable("listen to guests", err)
	}
	return network.InstancesAt(links, n.last.Ports), nil
}

// Counters are the packets that each named rule of the node's filter met; see network.ForgedMAC and its neighbours.
func (n *Node) Counters(ctx context.Context) (map[string]uint64, error) {
	return counters(n.Namespace())
}

func counters(path string) (map[string]uint64, error) {
	namespace, err := netns.Open(path)
	if err != nil {
		return nil, err
	}
	defer namespace.Close()
	tables, err := firewall.OpenTables(int(namespace.Fd()))
	if err != nil {
		return nil, err
	}
	defer tables.Close()
	return tables.Counters(network.TableName)
}

// enter takes the gate, or gives up with ctx.
func enter(ctx context.Context, gate chan struct{}) error {
	select {
	case gate <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the network: %w: %w", cluster.ErrTimeout, context.Cause(ctx))
	}
}

func leave(gate chan struct{}) { <-gate }

var (
	_ network.NodeNetwork = (*Node)(nil)
	_ network.Listener    = (*Node)(nil)
)
