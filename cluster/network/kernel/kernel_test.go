package kernel_test

import (
	"testing"

	"github.com/ciaocloud/ciao/cluster/network/networktest"
)

func TestTenantsReachTheirOwnAndTheOutside(t *testing.T) {
	m := newMachine(t)
	red, blue := m.tenant("red", 1001), m.tenant("blue", 1002)
	red2, red3, blue2 := red.instance(2), red.instance(3), blue.instance(2)
	for _, c := range []struct {
		name    string
		from    *instance
		to      string
		reaches bool
	}{
		{"a neighbour", red2, "172.16.0.3", true},
		{"back", red3, "172.16.0.2", true},
		{"the gateway", red2, "172.16.0.1", true},
		{"the outside", red2, networktest.OutsideAddress, true},
		{"the outside from the other tenant", blue2, networktest.OutsideAddress, true},
		{"an address that only the other tenant has", blue2, "172.16.0.3", false},
		{"the host on the underlay", red2, networktest.HostAddress.String(), false},
		{"the node on the underlay", red2, m.facts.Underlay.String(), false},
		{"its CNCI on the underlay", red2, red.underlay.String(), false},
		{"the other tenant's CNCI", red2, blue.underlay.String(), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.from.reaches(c.to) != c.reaches {
				t.Errorf("%s reaches %s: %t, want %t", c.from.id, c.to, !c.reaches, c.reaches)
			}
		})
	}
}
