package container

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"golang.org/x/sys/unix"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver/container/netplugin"
)

// networks remembers which subnets have their network in the engine.
type networks struct {
	turn chan struct{} // holds a token while somebody looks for a network or makes one
	mu   sync.Mutex
	ids  map[string]string // by subnet; may be out of date: a start that fails for it makes the network anew
}

func newNetworks() networks {
	return networks{turn: make(chan struct{}, 1), ids: map[string]string{}}
}

func (n *networks) known(subnet string) (id string, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	id, ok = n.ids[subnet]
	return id, ok
}

func (n *networks) remember(subnet, id string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ids[subnet] = id
}

// forget makes the next use of a subnet's network look whether it is there.
func (n *networks) forget(subnet string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.ids, subnet)
}

// networkNames are a subnet's network's names, the preferred one first; package documentation says why.
func (d *Driver) networkNames(subnet string) []string {
	plain := netplugin.Name(d.config.Cluster, d.config.Node) + "-" + subnet
	return []string{"container:" + plain, plain}
}

// network returns the id of the subnet's network and makes it if there is none. One at a time looks and makes, for the engine
// would make a second one of the same name.
func (d *Driver) network(ctx context.Context, subnet string) (string, error) {
	if err := d.ready(ctx); err != nil {
		return "", err
	}
	if id, ok := d.networks.known(subnet); ok {
		return id, nil
	}
	select {
	case d.networks.turn <- struct{}{}:
		defer func() { <-d.networks.turn }()
	case <-ctx.Done():
		return "", classify("network of subnet "+subnet, ctx.Err())
	}
	if id, ok := d.networks.known(subnet); ok {
		return id, nil
	}
	id, err := d.findNetwork(ctx, subnet)
	if err == nil && id == "" {
		id, err = d.makeNetwork(ctx, subnet)
	}
	if err != nil {
		return "", classify("network of subnet "+subnet, err)
	}
	d.networks.remember(subnet, id)
	return id, nil
}

func (d *Driver) findNetwork(ctx context.Context, subnet string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, quickCall)
	defer cancel()
	filter := d.mine()
	filter.Add("label", LabelSubnet+"="+subnet)
	found, err := d.engine.NetworkList(ctx, network.ListOptions{Filters: filter})
	if err != nil || len(found) == 0 {
		return "", err
	}
	return d.onlyNetwork(ctx, found)
}

// onlyNetwork removes all networks of a subnet but one. There are several when a launcher died while the engine made one, which was done when the
// next launcher had found none and made another; the engine then starts no container, for it goes by the name.
func (d *Driver) onlyNetwork(ctx context.Context, found []network.Summary) (string, error) {
	keep := found[0].ID
	for _, other := range found[1:] {
		err := d.engine.NetworkRemove(ctx, other.ID)
		if inUse(err) {
			err = d.engine.NetworkRemove(ctx, keep)
			keep = other.ID
		}
		if err != nil && !cerrdefs.IsNotFound(err) {
			return "", err
		}
	}
	return keep, nil
}

// ambiguous recognises the engine's word for a name that several networks have.
func ambiguous(err error) bool { return err != nil && strings.Contains(err.Error(), "is ambiguous") }

func (d *Driver) makeNetwork(ctx context.Context, subnet string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, quickCall)
	defer cancel()
	options := network.CreateOptions{
		Driver: netplugin.Name(d.config.Cluster, d.config.Node),
		Scope:  "local",
		IPAM:   &network.IPAM{Driver: "null"},
		Labels: map[string]string{LabelCluster: d.config.Cluster, LabelNode: d.config.Node, LabelSubnet: subnet},
	}
	unlock, err := lockDirectory(ctx, netplugin.DefaultDirectory)
	if err != nil {
		return "", err
	}
	defer unlock()
	var made network.CreateResponse
	for _, name := range d.networkNames(subnet) {
		if made, err = d.engine.NetworkCreate(ctx, name, options); !cerrdefs.IsInvalidArgument(err) {
			break
		}
	}
	return made.ID, err
}

// reconnect gives a container the network in the place of one that is gone for good. An engine takes a create with a network that has just
// been removed, and then keeps its id, which no other network will ever have, instead of its name. The new endpoint comes first: a container
// without any would start.
func (d *Driver) reconnect(ctx context.Context, found container.InspectResponse, subnet string) error {
	ctx, cancel := context.WithTimeout(ctx, quickCall)
	defer cancel()
	for lost, endpoint := range found.NetworkSettings.Networks {
		if _, err := d.engine.NetworkInspect(ctx, lost, network.InspectOptions{}); !cerrdefs.IsNotFound(err) {
			continue
		}
		err := d.engine.NetworkConnect(ctx, subnet, found.ID, &network.EndpointSettings{DriverOpts: endpoint.DriverOpts})
		if err != nil && !inUse(err) { // it may be connected from an earlier attempt
			return err
		}
		if err := d.engine.NetworkDisconnect(ctx, lost, found.ID, true); err != nil && !cerrdefs.IsNotFound(err) {
			return err
		}
	}
	return nil
}

// lockDirectory lets one driver of the machine at a time make a network: an engine that makes two at once leaves rules of its own firewall
// behind (it takes one away and puts it first again, which it does not guard). Where the directory is not, the engine is elsewhere.
func lockDirectory(ctx context.Context, directory string) (unlock func(), err error) {
	fd, err := unix.Open(directory, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return func() {}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w: %w", directory, cluster.ErrUnavailable, err)
	}
	for {
		if err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err == nil {
			return func() { unix.Close(fd) }, nil
		}
		if failed := pause(ctx, lockAgain); failed != nil {
			unix.Close(fd)
			return nil, fmt.Errorf("wait for others to make their networks: %w: %w", cluster.ErrUnavailable, failed)
		}
	}
}

// lockAgain is how often a wait for the machine's other drivers looks.
const lockAgain = 5 * time.Millisecond

// sweepNetworks removes this node's networks whose subnets have no container here. It may race with a create, whose start then makes the
// network again.
func (d *Driver) sweepNetworks(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, quickCall)
	defer cancel()
	found, err := d.engine.NetworkList(ctx, network.ListOptions{Filters: d.mine()})
	if err != nil || len(found) == 0 {
		return classify("list the networks of this node", err)
	}
	containers, err := d.engine.ContainerList(ctx, container.ListOptions{All: true, Filters: d.mine()})
	if err != nil {
		return classify("list the containers of this node", err)
	}
	for _, candidate := range found {
		subnet := candidate.Labels[LabelSubnet]
		if slices.ContainsFunc(containers, func(c container.Summary) bool { return c.Labels[LabelSubnet] == subnet }) {
			continue
		}
		d.networks.forget(subnet)
		if err := d.engine.NetworkRemove(ctx, candidate.ID); err != nil && !cerrdefs.IsNotFound(err) && !inUse(err) {
			return classify("remove the network of subnet "+subnet, err)
		}
	}
	return nil
}

// inUse says whether the engine kept a network because a container has come meanwhile.
func inUse(err error) bool { return cerrdefs.IsPermissionDenied(err) || cerrdefs.IsConflict(err) }
