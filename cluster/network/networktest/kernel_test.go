package networktest_test

import (
	"testing"

	"github.com/ciaocloud/ciao/cluster/network"
	"github.com/ciaocloud/ciao/cluster/network/networktest"
)

func TestKernelPassesTheSuite(t *testing.T) {
	networktest.RunKernel(t, func(*testing.T) network.Kernel { return networktest.NewKernel() })
}
