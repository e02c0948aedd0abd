package daemon

import (
	"errors"
	"fmt"
	"slices"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/driver/container"
	"github.com/ciaocloud/ciao/cluster/driver/container/netplugin"
	"github.com/ciaocloud/ciao/cluster/driver/process"
	"github.com/ciaocloud/ciao/cluster/driver/vm"
	"github.com/ciaocloud/ciao/cluster/launcher"
	"github.com/ciaocloud/ciao/cluster/network"
	"github.com/ciaocloud/ciao/ssntp"
)

// drivers makes the drivers of what the node runs, and the parts that run beside the launcher for them.
func (n node) drivers(roles ssntp.Role) (drivers []driver.Driver, parts []part, err error) {
	if roles&ssntp.RoleAgent != 0 {
		if drivers, parts, err = n.tenantsDrivers(); err != nil {
			return nil, nil, err
		}
	}
	if roles&ssntp.RoleNetAgent != 0 {
		concentrators, err := n.concentrators()
		if err != nil {
			return nil, nil, err
		}
		drivers = append(drivers, concentrators)
	}
	return drivers, parts, nil
}

// tenantsDrivers makes the drivers of the kinds that the cluster file names. Where it names none, a kind that the machine lacks programs
// for is left out.
func (n node) tenantsDrivers() (drivers []driver.Driver, parts []part, err error) {
	makers := map[cluster.Kind]func() (driver.Driver, part, error){
		cluster.KindContainer: n.containers, cluster.KindProcess: n.processes, cluster.KindVM: n.machines,
	}
	for _, kind := range []cluster.Kind{cluster.KindContainer, cluster.KindProcess, cluster.KindVM} {
		named := slices.Contains(n.Config.Launcher.Kinds, string(kind))
		if !named && len(n.Config.Launcher.Kinds) > 0 {
			continue
		}
		made, beside, err := makers[kind]()
		if errors.Is(err, cluster.ErrNotFound) && !named {
			n.logger.Info("this node does not run a kind of instances", "kind", kind, "reason", err)
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("instances of kind %s: %w", kind, err)
		}
		drivers = append(drivers, made)
		if beside != nil {
			parts = append(parts, beside)
		}
	}
	return drivers, parts, nil
}

// containers makes the driver for containers; beside it runs the network plugin that the engine calls for them.
func (n node) containers() (driver.Driver, part, error) {
	plugin, err := netplugin.Listen(netplugin.Config{Cluster: n.Config.Name, Node: n.id, Log: n.logger})
	if err != nil {
		return nil, nil, err
	}
	made, err := container.New(container.Config{Cluster: n.Config.Name, Node: n.id, Host: n.Config.Launcher.Docker, Log: n.logger})
	return made, plugin.Run, err
}

func (n node) processes() (driver.Driver, part, error) {
	made, err := process.New(process.Config{
		Instances: launcher.InstancesDirectory(n.Config.Launcher.Directory),
		Mark:      network.NodeNamespace(n.Config.Name, n.id),
		Paths:     n.Config.Launcher.Processes.Paths,
		TimeScale: n.Config.TimeScale,
		Logger:    n.logger,
	})
	return made, nil, err
}

// machines makes the driver for virtual machines; beside it runs the choice of what they run on.
func (n node) machines() (driver.Driver, part, error) {
	made, err := vm.New(vm.Config{
		Mark:      network.NodeNamespace(n.Config.Name, n.id),
		Instances: launcher.InstancesDirectory(n.Config.Launcher.Directory), Taps: n.taps,
		Cache: n.Config.Launcher.Directory, TimeScale: n.Config.TimeScale, Logger: n.logger,
	})
	if err != nil {
		return nil, nil, err
	}
	return made, made.Run, nil
}
