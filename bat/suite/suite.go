// Package suite lists all acceptance tests.
package suite

import (
	"github.com/ciaocloud/ciao/bat"
	"github.com/ciaocloud/ciao/bat/suite/api"
	"github.com/ciaocloud/ciao/bat/suite/image"
	"github.com/ciaocloud/ciao/bat/suite/instance"
	"github.com/ciaocloud/ciao/bat/suite/network"
	"github.com/ciaocloud/ciao/bat/suite/nodes"
	"github.com/ciaocloud/ciao/bat/suite/quota"
	"github.com/ciaocloud/ciao/bat/suite/recovery"
	"github.com/ciaocloud/ciao/bat/suite/smoke"
	"github.com/ciaocloud/ciao/bat/suite/tenant"
	"github.com/ciaocloud/ciao/bat/suite/volume"
	"github.com/ciaocloud/ciao/bat/suite/workload"
	"github.com/ciaocloud/ciao/cluster"
)

// All are the suites in the order in which they run: the quick look first, what disturbs the cluster last.
func All() []bat.Suite {
	return []bat.Suite{
		smoke.Suite(), api.Suite(), tenant.Suite(), workload.Suite(), instance.Suite(), instance.SuiteOf(cluster.KindProcess),
		instance.SuiteOf(cluster.KindVM), quota.Suite(), image.Suite(), volume.Suite(), network.Suite(), recovery.Suite(), nodes.Suite(),
	}
}
