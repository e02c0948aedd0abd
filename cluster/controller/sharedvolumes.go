package controller

import (
	"hash/fnv"
	"slices"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/store"
)

// decideStorage says where a volume is kept that is nowhere yet, once it is known to be a disk. Files are on nodes.
func (c *Controller) decideStorage(v *cluster.Volume) {
	if v.Storage == "" && v.Content == cluster.ContentDisk && v.Node == "" && !v.Made && c.disks == cluster.StorageCeph {
		v.Storage = c.disks
	}
}

// checkStorage notes that a volume is wanted in what the cluster does not have.
func (c *Controller) checkStorage(field string, wanted cluster.Storage, problems *cluster.Problems) {
	if wanted == cluster.StorageCeph && c.disks != cluster.StorageCeph {
		problems.Add(field, "this cluster has no Ceph; leave it away, or set storage.ceph in the cluster file of the controller and of the compute nodes")
	}
}

// nextToken is larger than any token of the volume before, also those that a store which was restored from a backup has forgotten.
func nextToken(v cluster.Volume) uint64 { return max(v.Token+1, uint64(time.Now().UnixMilli())) }

// errandNode is the node that is told what a shared volume needs: for as long as it listens always the same one; empty when none does.
func (r *reconciler) errandNode(view store.Reader, volume string) (chosen string) {
	var highest uint64
	for n := range nodes.All(view) {
		if n.State == cluster.NodeMissing || !slices.Contains(n.Roles, cluster.Compute) {
			continue
		}
		if _, deaf := r.silence(n.ID); deaf {
			continue
		}
		sum := fnv.New64a()
		sum.Write([]byte(volume + n.ID))
		if rank := sum.Sum64(); chosen == "" || rank > highest { // rendezvous hashing
			chosen, highest = n.ID, rank
		}
	}
	return chosen
}

// sharesImage says whether a shared volume of an instance begins as a copy of a content.
func sharesImage(r store.Reader, instance, digest string) bool {
	for v := range volumes.By(r, byInstance, instance) {
		if v.Shared() && v.Image != nil && v.Image.Digest == digest {
			return true
		}
	}
	return false
}
