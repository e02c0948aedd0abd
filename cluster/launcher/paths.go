package launcher

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/ciaocloud/ciao/cluster/network"
	"github.com/ciaocloud/ciao/cluster/payload"
)

// readPaths reads the paths of subnets that the launcher before this one knew.
func readPaths(file string) (map[string]payload.SubnetPaths, error) {
	paths := map[string]payload.SubnetPaths{}
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return paths, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &paths)
	}
	if err != nil {
		return nil, fmt.Errorf("read the paths of subnets: %w", err)
	}
	return paths, nil
}

// learn keeps the newest paths of subnets; what changed for a subnet with ports is applied.
func (f *fabric) learn(all []payload.SubnetPaths) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	changed := false
	for _, paths := range all {
		if !samePaths(f.paths[paths.ID], paths) {
			f.paths[paths.ID] = paths
			changed = true
		}
	}
	if !changed {
		return nil
	}
	f.drop(all)
	f.poke()
	data, err := json.Marshal(f.paths)
	if err != nil {
		return fmt.Errorf("encode the paths of subnets: %w", err)
	}
	return writeFile(f.file, data, true)
}

// maxIdlePaths bounds how many subnets without a port are remembered.
const maxIdlePaths = 1024

// drop forgets subnets without a port when there are too many; the newest are about to get one.
func (f *fabric) drop(newest []payload.SubnetPaths) {
	if len(f.paths) <= maxIdlePaths+len(f.ports) {
		return
	}
	used := map[string]bool{}
	for _, paths := range newest {
		used[paths.ID] = true
	}
	for _, port := range f.ports {
		used[port.Subnet] = true
	}
	maps.DeleteFunc(f.paths, func(id string, _ payload.SubnetPaths) bool { return !used[id] })
}

// lookup finds the paths of a subnet, and the facts of the node.
func (f *fabric) lookup(subnet string) (payload.SubnetPaths, network.NodeFacts) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.paths[subnet], f.facts
}

// ready says whether the network has been applied, and its facts.
func (f *fabric) ready() (network.NodeFacts, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.facts, f.applied
}

func samePaths(a, b payload.SubnetPaths) bool {
	return slices.Equal(a.Peers, b.Peers) && slices.Equal(a.Neighbours, b.Neighbours) && a.ID == b.ID && a.Tenant == b.Tenant && a.Key == b.Key && a.Prefix == b.Prefix &&
		a.Gateway == b.Gateway && a.Concentrator == b.Concentrator && a.Domain == b.Domain
}

// wantedSubnet is a subnet as the kernel is to have it; the node is not its own peer, nor has it neighbours on itself.
func wantedSubnet(paths payload.SubnetPaths, own netip.Addr) network.Subnet {
	peers := slices.DeleteFunc(slices.Clone(paths.Peers), func(peer netip.Addr) bool { return peer == own })
	wanted := network.Subnet{
		ID: paths.ID, Tenant: paths.Tenant, Key: paths.Key, Prefix: paths.Prefix,
		Gateway: paths.Gateway, Concentrator: paths.Concentrator, Peers: peers,
	}
	for _, neighbour := range paths.Neighbours {
		if neighbour.Node != own {
			wanted.Neighbours = append(wanted.Neighbours, network.Neighbour(neighbour))
		}
	}
	return wanted
}

func validMAC(text string) bool {
	address, err := net.ParseMAC(text)
	return err == nil && len(address) == 6
}
