package launcher_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/ssntp"
)

// What a start says of its subnet is older than what came after it, whenever the instance's owner gets to it.
func TestPathsOfAStartDoNotUndoNewerOnes(t *testing.T) {
	w := newWorld(t)
	n := w.node()
	n.config = roomy
	n.run()
	n.ready()
	newest := subnet
	far := netip.MustParseAddr("198.51.100.99")
	newest.Neighbours = []payload.Neighbour{{MAC: "02:00:ac:10:00:63", Node: far}}
	starts := make([]payload.Start, 30)
	for i := range starts {
		starts[i] = newStart(1)
		w.send(ssntp.Start, n.id.String(), starts[i])
	}
	w.send(ssntp.Configure, n.id.String(), payload.Configure{Subnets: []payload.SubnetPaths{newest}})
	for _, s := range starts {
		w.becomes(s.Instance, cluster.Active)
	}
	n.eventually("the newest paths", func() bool { return slices.Equal(n.network.peers(), []netip.Addr{far}) })
}
