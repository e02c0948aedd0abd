package cluster

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func testBatch() Batch {
	return Batch{
		ID: "11111111-1111-4111-8111-111111111111", Count: 5, Template: Instance{Name: "web", Tenant: "t"},
		Segments: []BatchSegment{
			{Subnet: "a", Prefix: netip.MustParsePrefix("172.16.0.0/24"), Range: AddressRange{First: 253, Last: 254}},
			{Subnet: "b", Prefix: netip.MustParsePrefix("172.16.1.0/24"), Prefix6: netip.MustParsePrefix("fd3e:9a4c:7100:1::/64"), Range: AddressRange{First: 2, Last: 4}},
		},
	}
}

func TestBatchInstances(t *testing.T) {
	batch := testBatch()
	all := slices.Collect(batch.Instances(0))
	var got []string
	ids := map[string]bool{}
	for _, i := range all {
		got = append(got, i.Name+" "+i.Subnet+" "+strings.Trim(fmt.Sprint(i.Addresses), "[]")+" "+i.MAC)
		if !ValidID(i.ID) || ids[i.ID] {
			t.Errorf("id %q is not valid or not unique", i.ID)
		}
		ids[i.ID] = true
	}
	want := []string{
		"web-1 a 172.16.0.253 02:00:ac:10:00:fd",
		"web-2 a 172.16.0.254 02:00:ac:10:00:fe",
		"web-3 b 172.16.1.2 fd3e:9a4c:7100:1::2 02:00:ac:10:01:02",
		"web-4 b 172.16.1.3 fd3e:9a4c:7100:1::3 02:00:ac:10:01:03",
		"web-5 b 172.16.1.4 fd3e:9a4c:7100:1::4 02:00:ac:10:01:04",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("(-want +got):", diff)
	}
	address := cmpopts.EquateComparable(netip.Addr{})
	for from := range 6 {
		if diff := cmp.Diff(all[from:], slices.Collect(batch.Instances(from)), cmpopts.EquateEmpty(), address); diff != "" {
			t.Errorf("from %d (-want +got): %s", from, diff)
		}
		i, ok := batch.Instance(from)
		if ok != (from < 5) || ok && i.ID != all[from].ID {
			t.Errorf("instance %d is %v, %t", from, i, ok)
		}
	}
	if _, ok := batch.Instance(-1); ok {
		t.Error("there is an instance -1")
	}
}

func TestBatchOfOne(t *testing.T) {
	batch := testBatch()
	batch.Count = 1
	if all := slices.Collect(batch.Instances(0)); len(all) != 1 || all[0].Name != "web" {
		t.Errorf("got %v", all)
	}
}

func TestHostNumbers(t *testing.T) {
	prefix := netip.MustParsePrefix("172.16.255.0/20")
	for _, host := range []uint32{0, 1, 255, 256, 4095} {
		address := HostAddress(prefix, host)
		if back, ok := HostNumber(prefix, address); !ok || back != host {
			t.Errorf("%d is %s is %d, %t", host, address, back, ok)
		}
	}
	for _, outside := range []string{"172.16.239.255", "10.0.0.1", "fe80::1"} {
		if _, ok := HostNumber(prefix, netip.MustParseAddr(outside)); ok {
			t.Errorf("%s is in %s", outside, prefix)
		}
	}
}
