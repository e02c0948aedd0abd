package network

import (
	"context"
	"fmt"

	"github.com/ciaocloud/ciao/bat"
	"github.com/ciaocloud/ciao/cluster/api"
)

func mtu(ctx context.Context, t *bat.T) {
	tenant := t.Tenant(ctx)
	const size = 8 << 20
	server := t.Cluster.Container("server", fmt.Sprintf("mkdir -p /www && yes ciao | head -c %d > /www/file && exec httpd -f -h /www", size))
	server.Requirements = api.Requirements{VCPUs: 0.5, MemoryMiB: 48}
	tenant.Workload(ctx, server)
	one := tenant.Active(ctx, tenant.Create(ctx, api.CreateInstances{Workload: "server", Name: "server"}))[0]
	const headers = 28 // IPv4 and ICMP
	full := fmt.Sprintf(`size=$(($(cat "/sys/class/net/$link/mtu") - %d)); `, headers)
	workload := t.Cluster.Container(t.Name("probe"), "")
	workload.Requirements = api.Requirements{VCPUs: 0.5, MemoryMiB: 48}
	tenant.ProbeIn(ctx, workload,
		bat.Step{Name: "the neighbour answers a full packet", Script: full + "ping -c 2 -W 2 -s $size " + address(one)},
		bat.Step{Name: "the gateway answers a full packet", Script: full + `ping -c 2 -W 2 -s $size "$gateway"`},
		bat.Step{Name: "the neighbour answers a fragmented packet", Script: "ping -c 2 -W 2 -s 4000 " + address(one)},
		bat.Step{Name: "8 MiB arrive", Script: fmt.Sprintf("within 10 timeout 60 wget -q -O /tmp/file http://%s/file", address(one))},
		bat.Step{Name: "every byte is right", Script: fmt.Sprintf(`[ "$(md5sum < /tmp/file)" = "$(yes ciao | head -c %d | md5sum)" ]`, size)})
}
