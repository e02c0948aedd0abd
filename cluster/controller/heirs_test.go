package controller

import (
	"net/netip"
	"testing"

	"github.com/ciaocloud/ciao/cluster"
)

// untilInherited waits until an external IP reaches the instance of that name, and nothing else does.
func (w *world) untilInherited(address, name string) {
	w.t.Helper()
	w.until(address+" reaches "+name, func() bool {
		found, err := w.c.ExternalIP(w.ctx, w.tenant.ID, address)
		if err != nil || found.State != cluster.ExternalMapped || found.InstanceName != name {
			return false
		}
		at := 0
		for _, m := range w.mapped() {
			if m.External.String() != address {
				continue
			}
			if m.Internal != found.Internal {
				w.t.Errorf("%s is said to reach %s and reaches %s", address, found.Internal, m.Internal)
			}
			at++
		}
		if at > 1 {
			w.t.Errorf("%d CNCIs map %s", at, address)
		}
		return at == 1
	})
}

func TestSuccessorInheritsExternalIPs(t *testing.T) {
	inWorld(t, func(w *world) {
		w.pool("lab", "203.0.113.16/28")
		first, second := w.service(1)
		one, two := w.lendTo("s"), w.lendTo("s")
		w.untilInherited(one, "s")
		w.evacuate(first, false)
		w.until("it is replaced", func() bool { return w.replaced(1, second) })
		w.untilInherited(one, "s-r1")
		w.untilInherited(two, "s-r1")
		if w.hasEvent("Unmapped") != 0 {
			t.Error("an external IP was let go in between")
		}
	})
}

// A successor in another subnet has another CNCI, which maps the address only after the first has let it go.
func TestSuccessorInAnotherSubnetInheritsExternalIPs(t *testing.T) {
	inWorld(t, func(w *world) {
		bits := cluster.MaxSubnetBits
		if _, _, err := w.c.UpdateTenant(w.ctx, "red", TenantUpdate{SubnetBits: &bits}, 0); err != nil {
			t.Fatal(err)
		}
		w.pool("lab", "203.0.113.16/28")
		first, second := w.service(5) // as many as a subnet holds
		address, kept := w.lendTo("s-1"), w.lendTo("s-2")
		before := w.instance("s-1").Subnet
		w.untilInherited(address, "s-1")
		w.evacuate(first, false)
		w.until("they are replaced", func() bool { w.checkExternalOnce(address); return w.replaced(5, second) })
		if w.instance("s-1-r1").Subnet == before {
			t.Fatal("the successor is in the same subnet: this shows nothing")
		}
		w.untilInherited(address, "s-1-r1")
		w.untilInherited(kept, "s-2-r1")
		if _, err := w.c.DetachExternalIP(w.ctx, w.tenant.ID, address); err != nil {
			t.Fatal(err)
		}
		w.untilExternal(address, cluster.ExternalReserved)
	})
}

// checkExternalOnce compares what all CNCIs map with what may be.
func (w *world) checkExternalOnce(address string) {
	w.t.Helper()
	seen := map[netip.Addr]bool{}
	for _, m := range w.mapped() {
		if seen[m.External] {
			w.t.Errorf("two CNCIs map %s", m.External)
		}
		seen[m.External] = true
	}
	if w.externalState(address) == cluster.ExternalReserved {
		w.t.Errorf("%s is attached to nothing in between", address)
	}
}
