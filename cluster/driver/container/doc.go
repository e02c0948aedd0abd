// Package container runs instances of kind container on the Docker Engine (API 1.41 to the client's own).
//
// One instance is one container, named ciao-<instance id>-<first 8 of the node id> and labelled with its cluster, node, instance and tenant; the engine's
// names are unique, so an instance can never have two on a node. The container's place in its tenant's subnet is a network of the engine per
// subnet and node, served by package netplugin. Everything the driver must find again travels with the container: its labels, and
// the driver options of its endpoint, which also carry the generation – the only part of a container that can be replaced while its
// disk is kept.
//
// The engine starts a resolver of its own in the containers of every network that it holds for user-defined, with a process and a
// dozen iptables rules each: a quarter of the time of a start, and not wanted, since the concentrator is the subnet's name server.
// It does not where a network's name begins with "container:", as on its default bridge, so our networks are called
// container:<plugin>-<subnet id>. Should an engine refuse such a name, the driver uses the plain one: slower, and names are resolved
// by way of the engine's resolver.
//
// What is guaranteed, beyond package driver: the network is complete before the first instruction; limits are set before it; no
// privileges can be gained by set-user-ID programs; the engine never restarts a container by itself; what a container prints is
// kept in bounded files; nothing but containers and networks with this node's labels is ever removed.
package container
