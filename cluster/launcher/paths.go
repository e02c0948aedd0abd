package launcher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/ciaocloud/ciao/cluster/network"
	"github.com/ciaocloud/ciao/cluster/payload"
)

// learnt is what the node knows of a subnet.
type learnt struct {
	paths  payload.SubnetPaths
	wanted network.Subnet // as the kernel is to have it
}

func newLearnt(paths payload.SubnetPaths) learnt {
	wanted := network.Subnet{
		ID: paths.ID, Tenant: paths.Tenant, Key: paths.Key, Prefix: paths.Prefix, Gateway: paths.Gateway,
		Prefix6: paths.Prefix6, Gateway6: paths.Gateway6, Concentrator: paths.Concentrator,
		Neighbours: make([]network.Neighbour, len(paths.Neighbours)),
	}
	peers := map[netip.Addr]bool{}
	for i, neighbour := range paths.Neighbours {
		wanted.Neighbours[i] = network.Neighbour(neighbour)
		peers[neighbour.Node] = true
	}
	wanted.Peers = slices.SortedFunc(maps.Keys(peers), netip.Addr.Compare)
	return learnt{paths, wanted}
}

// readLearnt reads what the launcher before this one knew. What a loss of power has left unreadable is told again.
func readLearnt(file string, logger *slog.Logger) (map[string]learnt, error) {
	all := map[string]learnt{}
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the paths of subnets: %w", err)
	}
	paths := map[string]payload.SubnetPaths{}
	if err := json.Unmarshal(data, &paths); err != nil {
		logger.Warn("the paths of subnets cannot be read and have to be told anew", "file", file, "error", err)
	}
	for id, one := range paths {
		all[id] = newLearnt(one)
	}
	return all, nil
}

// learn takes in news of subnets, and applies what changed. It names those of which something was missed, which it leaves as they are:
// the controller has to tell all of them.
func (f *fabric) learn(all []payload.SubnetPaths) (missed []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	changed, first := false, false
	for _, news := range all {
		before, known := f.subnets[news.ID]
		after, follows := before.paths.Follow(news)
		if !follows {
			missed = append(missed, news.ID)
			continue
		}
		if before.paths.Version == after.Version && before.paths.Same(after) {
			continue
		}
		f.subnets[news.ID] = newLearnt(after)
		changed, first = true, first || !known
	}
	if !changed {
		return missed
	}
	f.drop(all)
	f.poke()
	f.unsaved = true
	if first { // whoever comes after a crash could do nothing with the port of a subnet that it does not know
		f.save(true)
	} else {
		token(f.changed)
	}
	return missed
}

// saveInterval is how long changes of what is known already are collected before they are saved. Whoever comes after a crash and finds
// an older version is told of it by the controller.
const saveInterval = time.Second

// keep saves what changed until ctx ends.
func (f *fabric) keep(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.changed:
		}
		select {
		case <-ctx.Done():
		case <-time.After(saveInterval):
		}
		f.mu.Lock()
		f.save(false)
		f.mu.Unlock()
	}
}

// save writes what is known, if it is not on disk already. f.mu is held.
func (f *fabric) save(durable bool) {
	if !f.unsaved {
		return
	}
	paths := make(map[string]payload.SubnetPaths, len(f.subnets))
	for id, one := range f.subnets {
		paths[id] = one.paths
	}
	data, err := json.Marshal(paths)
	if err == nil {
		err = writeFile(f.file, data, durable)
	}
	if err != nil {
		f.logger.Error("paths of subnets not saved; a launcher that starts before the controller is back will not know them", "error", err)
		return
	}
	f.unsaved = false
}

// maxIdlePaths bounds how many subnets without a port are remembered.
const maxIdlePaths = 1024

// drop forgets subnets without a port when there are too many; the newest are about to get one.
func (f *fabric) drop(newest []payload.SubnetPaths) {
	if len(f.subnets) <= maxIdlePaths+len(f.ports) {
		return
	}
	used := map[string]bool{}
	for _, paths := range newest {
		used[paths.ID] = true
	}
	for _, port := range f.ports {
		used[port.Subnet] = true
	}
	maps.DeleteFunc(f.subnets, func(id string, _ learnt) bool { return !used[id] })
}

// lookup finds the paths of a subnet, and the facts of the node.
func (f *fabric) lookup(subnet string) (payload.SubnetPaths, network.NodeFacts) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.subnets[subnet].paths, f.facts
}

// ready says whether the network has been applied, and its facts.
func (f *fabric) ready() (network.NodeFacts, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.facts, f.applied
}

// excuse says why the network has not been applied yet: it is being made, or that failed, which is a problem.
func (f *fabric) excuse() (problem, otherwise string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.problem == "" {
		return "", "its network is being made"
	}
	return "its network cannot be made: " + f.problem, ""
}

func validMAC(text string) bool {
	address, err := net.ParseMAC(text)
	return err == nil && len(address) == 6
}
