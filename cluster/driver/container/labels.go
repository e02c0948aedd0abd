package container

import (
	"github.com/docker/docker/api/types/filters"

	"github.com/ciaocloud/ciao/cluster"
)

// Labels of every container, and the first two and the last of every network, that a driver makes.
const (
	LabelCluster    = "ciao" // name of the cluster
	LabelNode       = "ciao.node"
	LabelInstance   = "ciao.instance"
	LabelGeneration = "ciao.generation" // of the first Create; later ones are in the endpoint's options
	LabelTenant     = "ciao.tenant"
	LabelSubnet     = "ciao.subnet"
)

// LabelUploaded of an image that was imported from an uploaded archive, and so of its containers, is the reference that it was imported by.
const LabelUploaded = "ciao.uploaded"

// Name is the name of an instance's container on a node. It has the node in it, for an instance may go elsewhere while what is left of it
// on a lost node is still there, and several nodes may share one engine.
func Name(node, instance string) string { return "ciao-" + instance + "-" + node[:min(8, len(node))] }

func (d *Driver) name(instance string) string { return Name(d.config.Node, instance) }

// mine matches what this node made.
func (d *Driver) mine() filters.Args {
	return filters.NewArgs(
		filters.Arg("label", LabelCluster+"="+d.config.Cluster),
		filters.Arg("label", LabelNode+"="+d.config.Node))
}

func (d *Driver) owns(labels map[string]string) bool {
	return labels[LabelCluster] == d.config.Cluster && labels[LabelNode] == d.config.Node
}

// Kind is cluster.KindContainer.
func (d *Driver) Kind() cluster.Kind { return cluster.KindContainer }
