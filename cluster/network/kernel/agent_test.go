package kernel_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/ciaocloud/ciao/cluster/network"
	"github.com/ciaocloud/ciao/cluster/network/kernel"
	"github.com/ciaocloud/ciao/cluster/network/networktest"
)

// serveSubnet is an agent in a process of its own: it works in the namespace that it is started in, says so, and runs until it is
// killed.
func serveSubnet(arguments []string) error {
	concentrator := kernel.NewConcentrator(kernel.ConcentratorConfig{Cluster: arguments[0], Instance: arguments[1]})
	wanted := network.Concentrator{Domain: "red.ciao", Hosts: []network.Host{{Name: "web-2", MAC: "02:00:ac:10:00:02", Addresses: []netip.Addr{netip.MustParseAddr("172.16.0.2")}}},
		Subnet: network.Subnet{ID: "subnet-red", Key: 3401, Prefix: privateRange, Gateway: privateRange.Addr().Next(), Peers: []netip.Addr{netip.MustParseAddr(arguments[2])}}}
	if _, err := concentrator.Apply(context.Background(), wanted); err != nil {
		return err
	}
	fmt.Println("ready")
	return concentrator.Run(context.Background())
}

// startAgent starts the agent in the CNCI's namespace and waits until it serves.
func (t *tenant) startAgent() *exec.Cmd {
	t.t.Helper()
	agent := exec.Command(os.Args[0])
	agent.Env = append(os.Environ(), fmt.Sprintf("%s=agent %s cnci-%s %s", helperVariable, t.cluster, t.name, t.facts.Underlay))
	out, err := agent.StdoutPipe()
	if err != nil {
		t.t.Fatal(err)
	}
	t.gateway.Do(agent.Start)
	t.t.Cleanup(func() { agent.Process.Kill(); agent.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.t.Fatalf("the agent said %q, %v", line, err)
	}
	return agent
}

// The agent is killed; the subnet is served without it, and its successor takes over what it left.
func TestSubnetOutlivesItsAgent(t *testing.T) {
	m := newMachine(t)
	red := m.tenant("red", 3401)
	red2 := red.instance(2)
	served := func(when string) {
		t.Helper()
		if got := red2.ask("web-2.red.ciao", dns.TypeA); got[0] != "172.16.0.2" || !red2.reaches(networktest.OutsideAddress) {
			t.Errorf("%s: answer %v, or the outside is not reached", when, got)
		}
	}
	agent, pid := red.startAgent(), red.dnsmasq()
	served("with the agent")
	if err := agent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	agent.Wait()
	served("without the agent")
	red.startAgent()
	served("with its successor")
	if red.dnsmasq() != pid || !alive(pid) {
		t.Errorf("dnsmasq %d was not taken over: now it is %d", pid, red.dnsmasq())
	}
}

// A server beyond the machine's NAT sees the machine's address, and its answer comes back to the instance.
func TestOutsideIsReachedByTCP(t *testing.T) {
	m := newMachine(t)
	red2 := m.tenant("red", 3501).instance(2)
	var server net.Listener
	m.host.Outside.Do(func() (err error) {
		server, err = net.Listen("tcp4", networktest.OutsideAddress+":8080")
		return err
	})
	defer server.Close()
	go func() {
		if conn, err := server.Accept(); err == nil {
			fmt.Fprint(conn, conn.RemoteAddr().(*net.TCPAddr).IP)
			conn.Close()
		}
	}()
	var conn net.Conn
	red2.Do(func() (err error) {
		conn, err = net.DialTimeout("tcp4", networktest.OutsideAddress+":8080", 20*time.Second)
		return err
	})
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	if seen, err := io.ReadAll(conn); err != nil || string(seen) != "203.0.113.1" {
		t.Errorf("the server saw %q, %v; want the machine's address", seen, err)
	}
}
