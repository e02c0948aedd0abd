package controller

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
)

func ranges(texts ...string) (list []netip.Prefix) {
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

func (w *world) pool(name string, texts ...string) cluster.Pool {
	w.t.Helper()
	pool, err := w.c.CreatePool(w.ctx, name, ranges(texts...))
	if err != nil {
		w.t.Fatal(err)
	}
	return pool
}

// externalState is the state of an external IP; empty when it is not there.
func (w *world) externalState(address string) cluster.ExternalIPState {
	found, err := w.c.ExternalIP(w.ctx, w.tenant.ID, address)
	if err != nil {
		return ""
	}
	return found.State
}

func (w *world) untilExternal(address string, state cluster.ExternalIPState) {
	w.t.Helper()
	w.until(address+" is "+string(state), func() bool { return w.externalState(address) == state })
}

// mapped is what the CNCIs that run have applied.
func (w *world) mapped() (all []payload.Mapping) {
	w.fake.with(func() {
		for _, agent := range w.fake.agents {
			all = append(all, agent.mappings...)
		}
	})
	return all
}

func (w *world) lendTo(instance string) string {
	w.t.Helper()
	created, err := w.c.CreateExternalIP(w.ctx, w.tenant.ID, ExternalIPRequest{Instance: instance})
	if err != nil {
		w.t.Fatal(err)
	}
	return created.Address.String()
}

func TestLifeOfAnExternalIP(t *testing.T) {
	inWorld(t, func(w *world) {
		w.pool("lab", "203.0.113.16/30")
		w.create(1, "web")
		address := w.lendTo("web") // before anything of it runs
		if address != "203.0.113.17" {
			t.Errorf("got %s", address)
		}
		w.untilExternal(address, cluster.ExternalMapped)
		want := payload.Mapping{External: netip.MustParseAddr(address), Internal: w.instance("web").Addresses[0]}
		if got := w.mapped(); len(got) != 1 || got[0] != want {
			t.Errorf("the CNCI maps %v, want %v", got, want)
		}
		w.restart()
		w.untilExternal(address, cluster.ExternalMapped)
		if _, err := w.c.DetachExternalIP(w.ctx, w.tenant.ID, address); err != nil {
			t.Fatal(err)
		}
		w.untilExternal(address, cluster.ExternalReserved)
		if got := w.mapped(); len(got) != 0 {
			t.Errorf("the CNCI still maps %v", got)
		}
		if _, err := w.c.AttachExternalIP(w.ctx, w.tenant.ID, address, "web"); err != nil {
			t.Fatal(err)
		}
		w.untilExternal(address, cluster.ExternalMapped)
		if m, u := w.hasEvent("Mapped"), w.hasEvent("Unmapped"); m != 2 || u != 1 {
			t.Errorf("%d events Mapped and %d Unmapped, want 2 and 1", m, u)
		}
		if _, err := w.c.DeleteInstance(w.ctx, w.tenant.ID, "web"); err != nil {
			t.Fatal(err)
		}
		w.untilExternal(address, cluster.ExternalReserved)
		if err := w.c.DeleteExternalIP(w.ctx, w.tenant.ID, address); err != nil {
			t.Fatal(err)
		}
		if err := w.c.DeletePool(w.ctx, "lab"); err != nil {
			t.Error(err)
		}
	})
}

// An external IP of IPv6 leads to the instance's IPv6 address; where there is a pool of each family, the one of IPv4 is meant if none is named.
func TestExternalIPOfIPv6(t *testing.T) {
	inWorld(t, func(w *world) {
		w.pool("lab6", "2001:db8::100/126")
		w.pool("lab", "203.0.113.16/30")
		w.create(1, "web")
		created, err := w.c.CreateExternalIP(w.ctx, w.tenant.ID, ExternalIPRequest{Pool: "lab6", Instance: "web"})
		if err != nil {
			t.Fatal(err)
		}
		own := w.instance("web").Addresses
		if created.Address.String() != "2001:db8::101" || created.Internal != own[1] {
			t.Errorf("got %s, which leads to %s", created.Address, created.Internal)
		}
		if four := w.lendTo("web"); four != "203.0.113.17" {
			t.Errorf("of no pool in particular it is %s", four)
		}
		w.untilExternal("2001:db8::101", cluster.ExternalMapped)
		w.untilExternal("203.0.113.17", cluster.ExternalMapped)
		want := []payload.Mapping{{External: netip.MustParseAddr("203.0.113.17"), Internal: own[0]}, {External: created.Address, Internal: own[1]}}
		if got := w.mapped(); !slices.Equal(got, want) {
			t.Errorf("the CNCI maps %v, want %v", got, want)
		}
		if _, err := w.c.DeleteInstance(w.ctx, w.tenant.ID, "web"); err != nil {
			t.Fatal(err)
		}
		w.untilExternal("2001:db8::101", cluster.ExternalReserved)
		if err := w.c.DeleteExternalIP(w.ctx, w.tenant.ID, "2001:DB8:0::101"); err != nil {
			t.Error(err)
		}
	})
}

// The CNCI of a lost node is replaced by another, which has the external IPs; so is one that is evacuated.
func TestExternalIPsFollowTheCNCI(t *testing.T) {
	inWorld(t, func(w *world) {
		w.pool("lab", "203.0.113.16/28")
		w.create(1, "web")
		first, address := w.fake.order[0], w.lendTo("web")
		w.untilExternal(address, cluster.ExternalMapped)
		w.fake.addNode(2)
		w.fake.disconnect(first)
		w.untilExternal(address, cluster.ExternalFailed)
		w.fake.reconnect(first)
		w.untilExternal(address, cluster.ExternalMapped)
		w.evacuate(first, false)
		w.until("it has moved", func() bool { return len(w.heldBy(first)) == 0 })
		w.untilState(cluster.Active, 1)
		w.untilExternal(address, cluster.ExternalMapped)
		w.fake.addNode(3)
		second := w.instance("web").Node
		w.fake.disconnect(second)
		w.untilState(cluster.Missing, 1)
		w.fake.with(func() { clear(w.fake.nodes[second].instances); clear(w.fake.agents) })
		w.evacuate(second, true)
		w.untilState(cluster.Active, 1)
		w.untilExternal(address, cluster.ExternalMapped)
		if got := w.mapped(); len(got) != 1 {
			t.Errorf("the CNCI maps %v", got)
		}
	})
}

// What a CNCI had applied counts for nothing while it is on its way to another node.
func TestExternalIPIsNotMappedWhileItsCNCIMoves(t *testing.T) {
	inWorld(t, func(w *world) {
		w.pool("lab", "203.0.113.16/28")
		w.create(1, "web")
		address := w.lendTo("web")
		w.untilExternal(address, cluster.ExternalMapped)
		second := w.fake.addNode(2)
		w.until("the second is ready", func() bool { n, _ := w.c.Node(w.ctx, second); return n.State == cluster.NodeReady })
		w.fake.with(func() {
			w.fake.onStart = func(_ string, s payload.Start) (cluster.State, string, bool) {
				if s.Kind == cluster.KindCNCI {
					return cluster.Starting, "", false // and stays so
				}
				return "", "", false
			}
		})
		w.evacuate(w.fake.order[0], false)
		w.untilExternal(address, cluster.ExternalMapping)
	})
}

func TestExternalIPFailures(t *testing.T) {
	inWorld(t, func(w *world) {
		w.pool("lab", "203.0.113.16/28")
		w.create(1, "web")
		w.untilState(cluster.Active, 1)
		taken := netip.MustParseAddr("203.0.113.17")
		w.fake.with(func() { w.fake.elsewhere = map[netip.Addr]bool{taken: true} })
		address := w.lendTo("web")
		w.untilExternal(address, cluster.ExternalFailed)
		if found, _ := w.c.ExternalIP(w.ctx, w.tenant.ID, address); found.Reason != "in use elsewhere" || w.hasEvent("MappingFailed") != 1 {
			t.Errorf("the reason is %q, with %d events", found.Reason, w.hasEvent("MappingFailed"))
		}
		w.fake.with(func() {
			w.fake.elsewhere = nil
			for id, agent := range w.fake.agents {
				w.fake.agentReport(id, agent) // as it does when it has tried again
			}
		})
		w.untilExternal(address, cluster.ExternalMapped)
		w.fake.with(func() { w.fake.problem = "the kernel refuses" })
		if _, err := w.c.DetachExternalIP(w.ctx, w.tenant.ID, address); err != nil {
			t.Fatal(err)
		}
		w.until("the failure is told", func() bool { return w.hasEvent("UnmappingFailed") == 1 })
		if found, _ := w.c.ExternalIP(w.ctx, w.tenant.ID, address); found.State != cluster.ExternalUnmapping || !strings.Contains(found.Reason, "the kernel refuses") {
			t.Errorf("it is %s: %q", found.State, found.Reason)
		}
		if _, err := w.c.AttachExternalIP(w.ctx, w.tenant.ID, address, "web"); !errors.Is(err, cluster.ErrConflict) {
			t.Errorf("attached while it is held: %v", err)
		}
		w.fake.with(func() { w.fake.problem = "" })
		w.untilExternal(address, cluster.ExternalReserved)
	})
}

// Whatever goes with an instance goes in one transaction, so that there is a most.
func TestInstanceWithAsManyExternalIPsAsOneMayHave(t *testing.T) {
	inWorld(t, func(w *world) {
		w.pool("lab", "203.0.113.0/24")
		w.create(2, "web")
		var all []string
		for range cluster.MaxExternalIPsPerInstance {
			all = append(all, w.lendTo("web-1"))
		}
		_, err := w.c.CreateExternalIP(w.ctx, w.tenant.ID, ExternalIPRequest{Instance: "web-1"})
		if !errors.Is(err, cluster.ErrTooLarge) || !strings.Contains(err.Error(), "no instance may have more") {
			t.Errorf("one more: %v", err)
		}
		for _, address := range all {
			w.untilExternal(address, cluster.ExternalMapped)
		}
		if _, err := w.c.DeleteInstance(w.ctx, w.tenant.ID, "web-1"); err != nil {
			t.Fatal(err)
		}
		for _, address := range all {
			w.untilExternal(address, cluster.ExternalReserved)
		}
	})
}

func TestExternalIPsAreRefused(t *testing.T) {
	inOffice(t, func(w *world) {
		blue := w.addTenant("blue")
		red := w.tenant.ID
		refused := func(what string, err, class error, says string) {
			t.Helper()
			if !errors.Is(err, class) || !strings.Contains(err.Error(), says) {
				t.Errorf("%s: %v, want %v that says %q", what, err, class, says)
			}
		}
		_, err := w.c.CreateExternalIP(w.ctx, red, ExternalIPRequest{})
		refused("no pool", err, cluster.ErrNotFound, "there is no pool")
		w.pool("lab", "203.0.113.16/30", "203.0.113.40/32")
		w.create(2, "web")
		one := w.lendTo("web-1")
		two, err := w.c.CreateExternalIP(w.ctx, blue.ID, ExternalIPRequest{Pool: "lab"})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			what  string
			err   func() error
			class error
			says  string
		}{
			{"attach twice", func() error { _, err := w.c.AttachExternalIP(w.ctx, red, one, "web-2"); return err }, cluster.ErrConflict, "attached to instance web-1; detach it first"},
			{"delete in use", func() error { return w.c.DeleteExternalIP(w.ctx, red, one) }, cluster.ErrConflict, "attached to instance web-1; detach it first"},
			{"detach what is not attached", func() error { _, err := w.c.DetachExternalIP(w.ctx, blue.ID, two.Address.String()); return err }, cluster.ErrConflict, "attached to nothing"},
			{"attach another tenant's", func() error { _, err := w.c.AttachExternalIP(w.ctx, red, two.Address.String(), "web-2"); return err }, cluster.ErrNotFound, "not found"},
			{"attach to another tenant's", func() error {
				_, err := w.c.AttachExternalIP(w.ctx, Operator, two.Address.String(), "web-2")
				return err
			}, cluster.ErrConflict, "another tenant's"},
			{"attach to nothing there", func() error {
				_, err := w.c.AttachExternalIP(w.ctx, blue.ID, two.Address.String(), "web-2")
				return err
			}, cluster.ErrNotFound, `instance "web-2"`},
			{"no address", func() error { _, err := w.c.ExternalIP(w.ctx, red, "lab"); return err }, cluster.ErrInvalid, "by its address"},
			{"pool in use", func() error { return w.c.DeletePool(w.ctx, "lab") }, cluster.ErrConflict, "tenants have 2"},
			{"range in use", func() error { _, err := w.c.UpdatePool(w.ctx, "lab", nil, ranges("203.0.113.16/30")); return err }, cluster.ErrConflict, "must be deleted first"},
			{"range that is not there", func() error { _, err := w.c.UpdatePool(w.ctx, "lab", nil, ranges("203.0.113.64/30")); return err }, cluster.ErrInvalid, "is not one of its ranges"},
			{"nothing to change", func() error { _, err := w.c.UpdatePool(w.ctx, "lab", nil, nil); return err }, cluster.ErrInvalid, "nothing to add or remove"},
			{"pool of that name", func() error { _, err := w.c.CreatePool(w.ctx, "lab", ranges("203.0.113.64/30")); return err }, cluster.ErrExists, "choose another"},
			{"overlapping pool", func() error { _, err := w.c.CreatePool(w.ctx, "other", ranges("203.0.113.0/24")); return err }, cluster.ErrConflict, "overlaps 203.0.113.16/30 of pool lab"},
			{"overlapping itself", func() error { _, err := w.c.UpdatePool(w.ctx, "lab", ranges("203.0.113.40/31"), nil); return err }, cluster.ErrInvalid, "overlaps its 203.0.113.40"},
			{"tenants' own range", func() error { _, err := w.c.CreatePool(w.ctx, "other", ranges("172.16.9.0/24")); return err }, cluster.ErrInvalid, "never an external"},
			{"host bits", func() error { _, err := w.c.CreatePool(w.ctx, "other", ranges("198.51.100.5/24")); return err }, cluster.ErrInvalid, "did you mean 198.51.100.0/24"},
			{"too wide", func() error { _, err := w.c.CreatePool(w.ctx, "other", ranges("100.0.0.0/8")); return err }, cluster.ErrInvalid, "from /16"},
			{"too wide for IPv6", func() error { _, err := w.c.CreatePool(w.ctx, "other", ranges("2001:db8::/64")); return err }, cluster.ErrInvalid, "from /112"},
			{"IPv4 in IPv6", func() error { _, err := w.c.CreatePool(w.ctx, "other", ranges("::ffff:198.51.100.16/124")); return err }, cluster.ErrInvalid, "neither"},
			{"link-local", func() error { _, err := w.c.CreatePool(w.ctx, "other", ranges("fe80::100/120")); return err }, cluster.ErrInvalid, "never an external"},
			{"two families", func() error {
				_, err := w.c.CreatePool(w.ctx, "other", ranges("198.51.100.16/28", "2001:db8::100/120"))
				return err
			}, cluster.ErrInvalid, "make a pool of each"},
			{"another family", func() error { _, err := w.c.UpdatePool(w.ctx, "lab", ranges("2001:db8::100/120"), nil); return err }, cluster.ErrInvalid, "make a pool of each"},
			{"tenants' own IPv6 range", func() error {
				own := netip.PrefixFrom(w.instance("web-1").Addresses[1], 120).Masked()
				_, err := w.c.CreatePool(w.ctx, "other", []netip.Prefix{own})
				return err
			}, cluster.ErrInvalid, "tenants' own addresses"},
			{"empty", func() error { _, err := w.c.CreatePool(w.ctx, "other", nil); return err }, cluster.ErrInvalid, "names no addresses"},
			{"its name", func() error { _, err := w.c.CreatePool(w.ctx, "No!", ranges("198.51.100.0/24")); return err }, cluster.ErrInvalid, "lower-case"},
			{"tenant that has one", func() error { return w.c.DeleteTenant(w.ctx, "blue") }, cluster.ErrConflict, "1 external IPs; delete them first"},
		} {
			refused(c.what, c.err(), c.class, c.says)
		}
		if _, err := w.c.UpdatePool(w.ctx, "lab", nil, ranges("203.0.113.40/32")); err != nil {
			t.Error(err)
		}
		_, err = w.c.CreateExternalIP(w.ctx, red, ExternalIPRequest{})
		refused("used up", err, cluster.ErrNoCapacity, "all of its 2 addresses are taken")
		if _, err := w.c.UpdatePool(w.ctx, "lab", ranges("203.0.113.41/32"), nil); err != nil {
			t.Error(err)
		}
		limit := cluster.Limit(1)
		if _, _, _, err := w.c.UpdateQuota(w.ctx, "red", QuotaUpdate{ExternalIPs: &limit}, 0); err != nil {
			t.Fatal(err)
		}
		_, err = w.c.CreateExternalIP(w.ctx, red, ExternalIPRequest{})
		refused("over quota", err, cluster.ErrOverQuota, "external_ips: the limit is 1, in use are 1")
		if pool, _ := w.c.Pool(w.ctx, "lab"); pool.Lent != 2 || pool.Size() != 3 {
			t.Errorf("the pool is %+v", pool)
		}
		w.pool("other", "198.51.100.16/28")
		_, err = w.c.CreateExternalIP(w.ctx, blue.ID, ExternalIPRequest{})
		refused("which pool", err, cluster.ErrInvalid, "there are lab, other")
	})
}

// A pool takes nothing that the cluster's own machines have.
func TestPoolsKeepOffTheClustersAddresses(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(1, "web")
		w.untilState(cluster.Active, 1)
		n, err := w.c.Node(w.ctx, w.fake.order[0])
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.c.CreatePool(w.ctx, "lab", []netip.Prefix{netip.PrefixFrom(n.Underlay[0], 32)})
		if !errors.Is(err, cluster.ErrConflict) || !strings.Contains(err.Error(), "is the address of node") {
			t.Errorf("a pool with a node's address: %v", err)
		}
	})
}

// Whatever instant the controller dies at, external IPs come to where their owner wants them.
func TestExternalIPsSurviveTheController(t *testing.T) {
	inWorld(t, func(w *world) {
		w.pool("lab", "203.0.113.16/28")
		w.create(2, "web")
		w.untilState(cluster.Active, 2)
		a, b := w.lendTo("web-1"), w.lendTo("web-2")
		w.restart()
		w.untilExternal(a, cluster.ExternalMapped)
		w.untilExternal(b, cluster.ExternalMapped)
		if _, err := w.c.DetachExternalIP(w.ctx, w.tenant.ID, a); err != nil {
			t.Fatal(err)
		}
		w.restart()
		w.untilExternal(a, cluster.ExternalReserved)
		if got := w.mapped(); len(got) != 1 || got[0].External.String() != b {
			t.Errorf("the CNCI maps %v", got)
		}
	})
}
