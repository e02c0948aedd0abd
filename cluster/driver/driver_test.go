package driver_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ciaocloud/ciao/cluster/driver"
)

func TestPlacesHaveTheGatewayOfTheirFamily(t *testing.T) {
	network := driver.Network{
		Prefix: netip.MustParsePrefix("172.16.0.0/24"), Gateway: netip.MustParseAddr("172.16.0.1"),
		Prefix6: netip.MustParsePrefix("fd3e:9a4c:7100:1::/64"), Gateway6: netip.MustParseAddr("fd3e:9a4c:7100:1::1"),
		Addresses: []netip.Addr{netip.MustParseAddr("172.16.0.2"), netip.MustParseAddr("fd3e:9a4c:7100:1::2")},
	}
	want := []driver.Place{
		{Address: netip.MustParsePrefix("172.16.0.2/24"), Gateway: network.Gateway},
		{Address: netip.MustParsePrefix("fd3e:9a4c:7100:1::2/64"), Gateway: network.Gateway6},
	}
	if diff := cmp.Diff(want, network.Places(), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
		t.Errorf("places (-want +got):\n%s", diff)
	}
}
