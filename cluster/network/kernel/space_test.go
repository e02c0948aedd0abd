package kernel

import (
	"testing"

	"github.com/ciaocloud/ciao/cluster/network"
	"github.com/ciaocloud/ciao/cluster/network/networktest"
)

func TestSpacePassesTheSuite(t *testing.T) {
	networktest.RunKernel(t, func(t *testing.T) network.Kernel {
		host, ours, engine := networktest.NewSpace(t), networktest.NewSpace(t), networktest.NewSpace(t)
		host.IP("link add ciao_br type bridge")
		if err := addUnderlay(host.File(), ours.File(), "ciao_br", network.UnderlayMAC("test", "node"), "test"); err != nil {
			t.Fatal(err)
		}
		ours.IP("addr add 198.51.100.60/24 dev underlay")
		space, err := openSpace(ours.File(), engine.File())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(space.close)
		return space
	})
}
