package container

import (
	"fmt"
	"log/slog"

	"github.com/ciaocloud/ciao/cluster"
)

// Config says which node's containers a Driver runs, and on which engine.
type Config struct {
	Cluster  string       // name of the cluster; the label ciao of everything that is made
	Node     string       // id of the node
	Host     string       // the engine's address; empty is that of DOCKER_HOST, else unix:///var/run/docker.sock
	Parallel int          // most engine calls that make or start a container at one time; 0 is DefaultParallel
	Log      *slog.Logger // nil discards
}

// DefaultParallel is the number of containers that the engine is asked to make or start at one time: more only make each slower.
const DefaultParallel = 8

func (c Config) validate() error {
	var problems cluster.Problems
	if !cluster.ValidName(c.Cluster) {
		problems.Add("cluster", "%q is not a name of a cluster: use lower-case letters, digits and dashes", c.Cluster)
	}
	if c.Node == "" {
		problems.Add("node", "the id of the node is missing")
	}
	if c.Parallel < 0 {
		problems.Add("parallel", "must not be negative")
	}
	if err := problems.Err(); err != nil {
		return fmt.Errorf("container driver: %w", err)
	}
	return nil
}
