package container

import (
	"fmt"
	"math"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/driver/container/netplugin"
)

// optionGeneration carries the generation in the endpoint's driver options; the network plugin does not look at it.
const optionGeneration = "ciao.generation"

// optionEnded carries beside it, when the container ran in an older generation, when the last run of those ended.
const optionEnded = "ciao.ended"

// Bounds of what is kept of an instance's output.
const (
	logFileSize = "4m"
	logFiles    = "2"
)

// check refuses what must never reach the engine.
func check(instance driver.Instance) error {
	var problems cluster.Problems
	if instance.ID == "" {
		problems.Add("id", "is missing")
	}
	if instance.Kind != cluster.KindContainer {
		problems.Add("kind", "%q is not a container", instance.Kind)
	}
	if instance.Network.Port == "" || instance.Network.Subnet == "" {
		problems.Add("network", "a container needs a port in a subnet")
	}
	if !place(instance.Network, netip.Addr.Is4).Address.IsValid() {
		problems.Add("network", "a container needs an IPv4 address")
	}
	if err := problems.Err(); err != nil {
		return fmt.Errorf("container of instance %s: %w", instance.ID, err)
	}
	if instance.Spec.Privileged && !instance.Privileged {
		return fmt.Errorf("instance %s: the tenant may not run privileged containers; an operator can allow it: %w", instance.Name, cluster.ErrPermission)
	}
	return nil
}

// engineConfig is what the image runs and how it sees itself; from is the image, or what was kept of the container before.
func (d *Driver) engineConfig(instance driver.Instance, from string) *container.Config {
	spec := instance.Spec
	grace := seconds(time.Duration(spec.StopGrace))
	return &container.Config{
		Hostname:    instance.Name,
		Domainname:  instance.Network.Domain,
		Image:       from,
		Cmd:         spec.Command,
		Env:         environment(spec.Environment),
		StopTimeout: &grace, // for the engine's own shutdown
		Healthcheck: &container.HealthConfig{Test: []string{"NONE"}},
		Labels: map[string]string{
			LabelCluster:    d.config.Cluster,
			LabelNode:       d.config.Node,
			LabelInstance:   instance.ID,
			LabelGeneration: strconv.FormatUint(instance.Generation, 10),
			LabelTenant:     instance.Tenant,
			LabelSubnet:     instance.Network.Subnet,
		},
	}
}

// hostConfig is what the container may take of the node. Its capabilities are the engine's usual set: a tenant expects ping, and
// forged frames are dropped at the port.
func hostConfig(instance driver.Instance, networkID string) *container.HostConfig {
	spec, memory, pids := instance.Spec, instance.Spec.Requirements.MemoryMiB<<20, instance.Spec.Requirements.Pids
	host := &container.HostConfig{
		NetworkMode: container.NetworkMode(networkID),
		Privileged:  spec.Privileged,
		SecurityOpt: []string{"no-new-privileges"},
		Mounts:      mounts(instance),
		LogConfig: container.LogConfig{
			Type:   "json-file",
			Config: map[string]string{"max-size": logFileSize, "max-file": logFiles},
		},
		Resources: container.Resources{
			Memory:     memory,
			MemorySwap: memory, // memory and swap together: no swap
			NanoCPUs:   int64(spec.Requirements.VCPUs) * 1e6,
			PidsLimit:  &pids,
		},
	}
	if spec.Privileged {
		host.SecurityOpt = nil
	}
	if instance.Network.Gateway.IsValid() {
		host.DNS = []string{instance.Network.Gateway.String()}
	}
	if instance.Network.Domain != "" {
		host.DNSSearch = []string{instance.Network.Domain}
	}
	return host
}

// endpoint is the container's end of its port, as the engine keeps it. ended is when its last run in an older generation ended, in the
// engine's words; empty for a new container.
func endpoint(instance driver.Instance, ended string) *network.EndpointSettings {
	end := netplugin.Endpoint{Port: instance.Network.Port, MAC: instance.Network.MAC}
	four := place(instance.Network, netip.Addr.Is4)
	end.Address, end.Gateway = four.Address, four.Gateway
	if hasIPv6() {
		six := place(instance.Network, netip.Addr.Is6)
		end.Address6, end.Gateway6 = six.Address, six.Gateway
	}
	options := end.Options()
	options[optionGeneration] = strconv.FormatUint(instance.Generation, 10)
	if ended != "" {
		options[optionEnded] = ended
	}
	return &network.EndpointSettings{DriverOpts: options}
}

// place is the port's first address of a family; zero without one.
func place(n driver.Network, family func(netip.Addr) bool) driver.Place {
	for _, place := range n.Places() {
		if family(place.Address.Addr()) {
			return place
		}
	}
	return driver.Place{}
}

// hasIPv6 is false where the kernel was started without IPv6: the engine could not give a container an address of it.
func hasIPv6() bool {
	_, err := os.Stat("/proc/sys/net/ipv6")
	return err == nil
}

func environment(variables map[string]string) []string {
	lines := make([]string, 0, len(variables))
	for name, value := range variables {
		lines = append(lines, name+"="+value)
	}
	slices.SortFunc(lines, strings.Compare)
	return lines
}

// seconds rounds up to what the engine counts in.
func seconds(d time.Duration) int { return int(math.Ceil(max(d, 0).Seconds())) }
