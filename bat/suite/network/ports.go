package network

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/ciaocloud/ciao/bat"
	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
)

// namedPort is the port of the CNCI that these tests name, and lowPort one of external IPs that a process could not have itself.
const (
	namedPort = 8088
	lowPort   = 80
)

func ports(ctx context.Context, t *bat.T) {
	pool := freePool(ctx, t, netip.Addr.Is4)
	blue, green := t.Tenant(ctx), t.Tenant(ctx)
	recipe := server(t)
	recipe.Ports = []api.PortSpec{
		{Port: webPort}, {Port: webPort, Published: namedPort}, {Port: webPort, Address: cluster.AtExternalIP, Published: lowPort},
	}
	blue.Workload(ctx, recipe)
	web := blue.Active(ctx, blue.Create(ctx, api.CreateInstances{Workload: "server", Name: "web"}))[0]
	lent, err := blue.API.CreateExternalIP(ctx, api.CreateExternalIP{Pool: pool, Instance: web.ID})
	t.Need(err, "attach an external IP of pool %s", pool)
	await(ctx, t, blue, lent, cluster.ExternalMapped)
	shown := blue.Get(ctx, web.ID).Ports
	if len(shown) != 3 || shown[1].Published != namedPort || shown[2].Host != lent.Address.String() || shown[2].Published != lowPort {
		t.Fatalf("the instance shows the ports %+v, expected two of the CNCI and one of %s", shown, lent.Address)
	}
	chosen, named := shown[0], shown[1]
	t.Ciao(ctx, blue.ID, "create", "instance", "server").Refuses(t, "another instance with the same port of the CNCI", 4, "it leads to instance web")
	green.Probe(ctx,
		bat.Step{Name: "the port of the external IP is reached", Script: fmt.Sprintf("within 5 reaches %s %d", lent.Address, lowPort)},
		bat.Step{Name: "the ports of another tenant's CNCI are not", Script: fmt.Sprintf("! reaches %s %d && ! reaches %s %d", chosen.Host, chosen.Published, named.Host, named.Published)})
	if !t.Cluster.Local(ctx) {
		t.Logf("the cluster is not on this machine: whether the CNCI's ports are reached from its underlay is not judged")
		return
	}
	for _, port := range shown {
		answers(ctx, t, port)
	}
	blue.Delete(ctx, web)
	next := blue.Active(ctx, blue.Create(ctx, api.CreateInstances{Workload: "server", Name: "next"}))[0]
	answers(ctx, t, next.Ports[1])
}

// answers waits until a web server answers where a port is published, as seen from this machine.
func answers(ctx context.Context, t *bat.T, port api.PublishedPort) {
	at := net.JoinHostPort(port.Host, strconv.Itoa(port.Published))
	ctx, cancel := context.WithTimeout(ctx, t.Cluster.Scale(mapTime))
	defer cancel()
	for {
		line, err := greeting(ctx, at)
		if strings.HasPrefix(line, "HTTP/1.") {
			return
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("no web server answers at %s: %q, %v", at, line, err)
		}
	}
}

// greeting is the first line of what a web server answers.
func greeting(ctx context.Context, at string) (string, error) {
	dialer := net.Dialer{Timeout: 2 * time.Second}
	conn, err := dialer.DialContext(ctx, "tcp", at)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return "", err
	}
	if _, err := conn.Write([]byte("GET / HTTP/1.0\r\n\r\n")); err != nil {
		return "", err
	}
	return bufio.NewReader(conn).ReadString('\n')
}
