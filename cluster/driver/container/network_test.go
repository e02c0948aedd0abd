package container_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/driver/container"
	"github.com/ciaocloud/ciao/cluster/driver/container/netplugin"
	"github.com/ciaocloud/ciao/require"
)

// run creates and starts an instance.
func (n *node) run(t testing.TB, instance driver.Instance) {
	t.Helper()
	if err := n.driver.Create(t.Context(), instance, nil); err != nil {
		t.Fatal(err)
	}
	n.port(t, instance)
	if err := n.driver.Start(t.Context(), instance.ID); err != nil {
		t.Fatal(err)
	}
}

// output runs a script to its end and returns what it printed.
func (n *node) output(t testing.TB, instance driver.Instance) string {
	t.Helper()
	n.run(t, instance)
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	var text bytes.Buffer
	if err := n.driver.Logs(ctx, instance.ID, -1, true, &text); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// TestNetworkBeforeFirstInstruction has the first process of a container look at its network at once.
func TestNetworkBeforeFirstInstruction(t *testing.T) {
	require.Docker(t)
	n := newNode(t, "")
	instance := n.instance(t, "")
	instance.Spec.Command = []string{"ip", "addr"}
	got := n.output(t, instance)
	if strings.Contains(got, instance.Network.Addresses[1].String()+"/64 scope global tentative") {
		t.Errorf("the first instruction finds its IPv6 address not ready:\n%s", got)
	}
	for _, want := range []string{
		"inet " + instance.Network.Addresses[0].String() + "/24", "inet6 " + instance.Network.Addresses[1].String() + "/64", "link/ether " + instance.Network.MAC, "mtu 1450", "eth0",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the first instruction saw no %q in\n%s", want, got)
		}
	}
	routes := n.instance(t, "ip route; ip -6 route; cat /etc/resolv.conf")
	got = n.output(t, routes)
	for _, want := range []string{"default via 172.16.5.1 dev eth0", "default via fdc0:ffee:1200:5::1 dev eth0", "nameserver 172.16.5.1", "search tenant.test"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "127.0.0.11") {
		t.Errorf("names are asked of the engine's resolver and not of the subnet's:\n%s", got)
	}
}

// TestSameRangeTwice has two tenants with the same addresses on one node.
func TestSameRangeTwice(t *testing.T) {
	require.Docker(t)
	n := newNode(t, "")
	one, two := n.instance(t, untilStopped), n.instance(t, untilStopped)
	two.Tenant, two.Network.Subnet = "tenant-2", "subnet-2"
	two.Network.Addresses, two.Network.MAC = one.Network.Addresses, one.Network.MAC
	n.run(t, one)
	n.run(t, two)
	if got := n.networks(t); got != 2 {
		t.Errorf("%d networks for two subnets", got)
	}
}

func (n *node) networks(t testing.TB) int {
	t.Helper()
	found, err := n.engine.NetworkList(t.Context(), network.ListOptions{Filters: filters.NewArgs(
		filters.Arg("label", container.LabelCluster+"="+n.config.Cluster))})
	if err != nil {
		t.Fatal(err)
	}
	return len(found)
}

// TestNetworkGoesBeforeCreate has the subnet's network vanish between a look for it and the create that uses it, as when the last container
// before is deleted just then.
func TestNetworkGoesBeforeCreate(t *testing.T) {
	require.Docker(t)
	n := newNode(t, "")
	first, second := n.instance(t, untilStopped), n.instance(t, untilStopped)
	if err := n.driver.Create(t.Context(), first, nil); err != nil {
		t.Fatal(err)
	}
	n.removeNetworks(t)
	n.run(t, second)
	n.run(t, first)
	for _, instance := range []driver.Instance{first, second} {
		if got, err := n.driver.Status(t.Context(), instance.ID); err != nil || got.Condition != driver.Running || got.Generation != 1 {
			t.Errorf("%s is %+v, %v", instance.Name, got, err)
		}
	}
	if got := n.networks(t); got != 1 {
		t.Errorf("%d networks", got)
	}
}

// TestNetworkComesAndGoes follows a subnet's network from the first to the last container, and through a loss.
func TestNetworkComesAndGoes(t *testing.T) {
	require.Docker(t)
	n := newNode(t, "")
	one, two := n.instance(t, untilStopped), n.instance(t, untilStopped)
	for i, instance := range []driver.Instance{one, two} {
		if err := n.driver.Create(t.Context(), instance, nil); err != nil {
			t.Fatal(err)
		}
		if got := n.networks(t); got != 1 {
			t.Fatalf("%d networks after %d instances of one subnet", got, i+1)
		}
	}
	n.removeNetworks(t)
	for _, instance := range []driver.Instance{one, two} {
		if err := n.driver.Start(t.Context(), instance.ID); err != nil {
			t.Fatalf("start after the network was lost: %v", err)
		}
	}
	if got := n.networks(t); got != 1 {
		t.Errorf("%d networks after the loss", got)
	}
	for i, instance := range []driver.Instance{one, two} {
		if err := n.driver.Delete(t.Context(), instance.ID); err != nil {
			t.Fatal(err)
		}
		if got := n.networks(t); got != 1-i {
			t.Errorf("%d networks after %d of 2 are deleted", got, i+1)
		}
	}
}

// TestTwoNetworksOfOneName has the engine make a subnet's network a second time, as it does when the launcher that asked for the first has died
// before that was made. Whichever the engine lists first, the one that a container uses stays.
func TestTwoNetworksOfOneName(t *testing.T) {
	require.Docker(t)
	n := newNode(t, "")
	one, two, three := n.instance(t, untilStopped), n.instance(t, untilStopped), n.instance(t, untilStopped)
	if err := n.driver.Create(t.Context(), one, nil); err != nil {
		t.Fatal(err)
	}
	for _, instance := range []driver.Instance{one, two, three} {
		if err := n.driver.Create(t.Context(), instance, nil); err != nil {
			t.Fatal(err)
		}
		n.port(t, instance)
		n.secondNetwork(t)
		if err := n.driver.Start(t.Context(), instance.ID); err != nil {
			t.Fatalf("start beside a second network: %v", err)
		}
		if got := n.networks(t); got != 1 {
			t.Errorf("%d networks", got)
		}
	}
	for _, instance := range []driver.Instance{one, two, three} {
		if got, err := n.driver.Status(t.Context(), instance.ID); err != nil || got.Condition != driver.Running {
			t.Errorf("%s is %+v, %v", instance.Name, got, err)
		}
	}
}

// secondNetwork makes the one network of the node once more, without the look for others of its name that the client always asks for: the engine
// looks before it makes, so that it finds none when it makes two at once.
func (n *node) secondNetwork(t *testing.T) {
	t.Helper()
	found, err := n.engine.NetworkList(t.Context(), network.ListOptions{Filters: filters.NewArgs(
		filters.Arg("label", container.LabelCluster+"="+n.config.Cluster))})
	if err != nil || len(found) != 1 {
		t.Fatalf("%d networks, %v", len(found), err)
	}
	body, err := json.Marshal(map[string]any{"Name": found[0].Name, "Driver": found[0].Driver, "IPAM": network.IPAM{Driver: "null"}, "Labels": found[0].Labels})
	if err != nil {
		t.Fatal(err)
	}
	dial := n.engine.Dialer()
	caller := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
	}}
	answer, err := caller.Post("http://engine/networks/create", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode == http.StatusConflict {
		t.Skip("this engine does not make a second network of a name")
	}
	if answer.StatusCode != http.StatusCreated {
		said, _ := io.ReadAll(answer.Body)
		t.Fatalf("make a second network: %s: %s", answer.Status, said)
	}
}

func (n *node) removeNetworks(t *testing.T) {
	t.Helper()
	if _, err := n.engine.NetworksPrune(t.Context(), filters.NewArgs(filters.Arg("label", container.LabelCluster+"="+n.config.Cluster))); err != nil {
		t.Fatal(err)
	}
	if got := n.networks(t); got != 0 {
		t.Fatalf("%d networks are left", got)
	}
}

// TestPluginRestart has another process serve the plugin between two starts, as after a restart of the launcher.
func TestPluginRestart(t *testing.T) {
	require.Docker(t)
	n := newNode(t, "")
	config := n.config
	config.Node = "other-" + random(4)
	other := &node{config: config, engine: n.engine}
	other.driver = other.open(t)
	stop := serve(t, config)
	instance := other.instance(t, untilStopped)
	other.run(t, instance)
	stop()
	stop = serve(t, config)
	defer stop()
	if err := other.driver.Stop(t.Context(), instance.ID, time.Second); err != nil {
		t.Error(err)
	}
	other.port(t, instance)
	if err := other.driver.Start(t.Context(), instance.ID); err != nil {
		t.Errorf("start with a new plugin: %v", err)
	}
	if list, err := n.driver.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("another node's driver lists %v, %v", list, err)
	}
	if err := other.driver.Clean(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestPluginRefuses asks the plugin directly.
func TestPluginRefuses(t *testing.T) {
	directory := t.TempDir()
	config := netplugin.Config{Cluster: "t", Node: "0123456789", Directory: directory}
	plugin, err := netplugin.Listen(config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := netplugin.Listen(config); !errors.Is(err, cluster.ErrConflict) {
		t.Errorf("a second plugin on the same socket: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- plugin.Run(ctx) }()
	call := caller(t, directory+"/ciao-t-01234567.sock")
	for name, body := range map[string]string{
		"no options":  `{"EndpointID":"e"}`,
		"no address":  `{"EndpointID":"e","Options":{"ciao.port":"p","ciao.mac":"02:00:00:00:00:01","ciao.gateway":"10.0.0.1"}}`,
		"not an MAC":  `{"EndpointID":"e","Options":{"ciao.port":"p","ciao.mac":"x","ciao.address":"10.0.0.2/24","ciao.gateway":"10.0.0.1"}}`,
		"no IPv6":     `{"EndpointID":"e","Options":{"ciao.port":"p","ciao.mac":"02:00:00:00:00:01","ciao.address":"10.0.0.2/24","ciao.gateway":"10.0.0.1","ciao.address6":"10.0.0.2/24"}}`,
		"no gateway6": `{"EndpointID":"e","Options":{"ciao.port":"p","ciao.mac":"02:00:00:00:00:01","ciao.address":"10.0.0.2/24","ciao.gateway":"10.0.0.1","ciao.address6":"fd00::2/64"}}`,
		"long name":   `{"EndpointID":"e","Options":{"ciao.port":"ppppppppppppppppp"}}`,
		"not an JSON": `{`,
	} {
		if got := call("NetworkDriver.CreateEndpoint", body); got["Err"] == nil {
			t.Errorf("%s: %v", name, got)
		}
	}
	if got := call("NetworkDriver.Join", `{"EndpointID":"nobody"}`); got["Err"] == nil {
		t.Errorf("join of an unknown endpoint: %v", got)
	}
	if got := call("Plugin.Activate", ""); got["Err"] != nil {
		t.Errorf("activate: %v", got)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("unix", directory+"/ciao-t-01234567.sock"); err == nil {
		t.Error("the socket is still served")
	}
}

// caller makes the engine's side of the plugin protocol.
func caller(t *testing.T, socket string) func(call, body string) map[string]any {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return func(call, body string) map[string]any {
		answer, err := (&http.Client{Transport: transport}).Post("http://plugin/"+call, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]any{}
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatalf("%s answered %q", call, text)
		}
		return got
	}
}
