package controller

import (
	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/store"
)

// bequestCost is the rows that change for each external IP that a successor gets.
const bequestCost = 1

// bequeath gives the external IPs of an instance to its successor. In the same subnet the CNCI changes its mapping in one step. Another
// subnet has another CNCI, which must not map an address that the first still has: until that has let it go, the external IP is unmapping
// there, with its new instance already recorded (passing).
func bequeath(tx store.Tx, old, next cluster.Instance) error {
	for row := range externalIPs.By(tx, byInstance, old.ID) {
		if !row.Attached() {
			continue // its owner has detached it
		}
		row.Instance, row.State, row.Reason = next.ID, cluster.ExternalMapping, ""
		if row.Subnet != next.Subnet {
			row.State = cluster.ExternalUnmapping
		}
		if err := externalIPs.Put(tx, row); err != nil {
			return err
		}
	}
	return queueTenant(tx, old.Tenant) // whoever attaches one at the same time sees that the instance is retired
}

// passing says whether an external IP that is unmapping goes on to an instance of another subnet, rather than to nobody.
func passing(r store.Reader, row cluster.ExternalIP) bool {
	if row.State != cluster.ExternalUnmapping || row.Instance == "" {
		return false
	}
	heir, err := instances.Get(r, row.Instance)
	return err == nil && heir.Subnet != row.Subnet && heir.Desired != cluster.WantDeleted
}

// passed is an external IP that its former CNCI has let go, in the subnet of the instance that it goes on to.
func passed(r store.Reader, row cluster.ExternalIP) cluster.ExternalIP {
	heir, err := instances.Get(r, row.Instance)
	if err != nil {
		return unmapped(row)
	}
	row.Subnet, row.State, row.Reason = heir.Subnet, cluster.ExternalMapping, ""
	return row
}
