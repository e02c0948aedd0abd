package controller

import (
	"net/netip"
	"testing"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/store"
)

// subnetOf is the subnet that an instance is in.
func (w *world) subnetOf(i cluster.Instance) (subnet cluster.Subnet) {
	w.t.Helper()
	err := w.db.View(w.ctx, func(r store.Reader) (err error) {
		subnet, err = subnets.Get(r, i.Subnet)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return subnet
}

func TestInstancesHaveAnIPv6Address(t *testing.T) {
	inWorld(t, func(w *world) {
		one := w.create(1, "one")[0]
		w.restart() // what was drawn by lot stays
		other := w.addTenant("other")
		made, err := w.c.CreateInstances(w.ctx, other.ID, InstanceRequest{Workload: "web", Name: "two", Count: 1})
		if err != nil {
			t.Fatal(err)
		}
		two := made[0]
		near, far := w.subnetOf(one), w.subnetOf(two)
		if len(one.Addresses) != 2 || one.Addresses[1] != cluster.HostAddress(near.Prefix6, 2) || near.Gateway6 != cluster.HostAddress(near.Prefix6, 1) {
			t.Errorf("the instance has %v in %s with the gateway %s", one.Addresses, near.Prefix6, near.Gateway6)
		}
		wide := func(s cluster.Subnet) netip.Prefix {
			return netip.PrefixFrom(s.Prefix6.Addr(), cluster.RangeBits6).Masked()
		}
		if near.Prefix6.Bits() != 64 || near.Prefix6 == far.Prefix6 || wide(near) != wide(far) || near.Prefix6 != cluster.SubnetPrefix6(wide(near), near.Key) {
			t.Errorf("the prefixes are %s and %s", near.Prefix6, far.Prefix6)
		}
		if !netip.MustParsePrefix("fd00::/8").Contains(one.Addresses[1]) {
			t.Errorf("%s is not a unique local address", one.Addresses[1])
		}
	})
}

// A subnet and an instance that are older than IPv6 go on; the next instance brings the subnet its prefix, and the older one keeps what
// it has.
func TestOlderSubnetsGetIPv6WithTheirNextInstance(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(1, "old")
		w.untilState(cluster.Active, 1)
		_, err := w.db.Update(w.ctx, func(tx store.Tx) error {
			row, err := instances.Get(tx, w.instance("old").ID)
			if err != nil {
				return err
			}
			subnet, err := subnets.Get(tx, row.Subnet)
			if err != nil {
				return err
			}
			row.Addresses, subnet.Prefix6, subnet.Gateway6 = row.Addresses[:1], netip.Prefix{}, netip.Addr{}
			if err := instances.Put(tx, row); err != nil {
				return err
			}
			return subnets.Put(tx, subnet)
		})
		if err != nil {
			t.Fatal(err)
		}
		w.restart()
		w.create(1, "new")
		w.untilState(cluster.Active, 2)
		old, fresh := w.instance("old"), w.instance("new")
		if len(old.Addresses) != 1 || len(fresh.Addresses) != 2 || old.Subnet != fresh.Subnet || !w.subnetOf(fresh).Prefix6.Contains(fresh.Addresses[1]) {
			t.Errorf("the older has %v, the newer %v", old.Addresses, fresh.Addresses)
		}
		for _, name := range []string{"old", "new"} {
			if _, err := w.c.DeleteInstance(w.ctx, w.tenant.ID, name); err != nil {
				t.Fatal(err)
			}
		}
		w.untilGone()
	})
}
