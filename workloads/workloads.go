// Package workloads holds the workload recipes that come with the programs, as files: those of development VMs (ccloudvm/*.yaml) and
// those of a cluster (cluster/*.yaml). They are meant to be read, copied and changed by users; a user's own file of the same name wins.
package workloads

import "embed"

// Files holds the folders ccloudvm and cluster.
//
//go:embed */*.yaml
var Files embed.FS
