package smoke

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/ciaocloud/ciao/bat"
	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
)

// sshPort is where the guest's SSH server listens, and freePort where it is published on external IPs.
const (
	sshPort  = 22
	freePort = 2222
)

func machine(ctx context.Context, t *bat.T) {
	if !slices.Contains(t.Kinds(ctx), cluster.KindVM) {
		t.Skipf("no node runs virtual machines, or there is no public workload whose image they could have")
	}
	tenant := t.Tenant(ctx)
	kept, given, stranger := newKey(t), newKey(t), newKey(t)
	_, err := tenant.API.CreateSSHKey(ctx, api.CreateSSHKey{Name: "kept", Key: line(kept)})
	t.Need(err, "keep a key")
	recipe := t.Cluster.SleeperOf(cluster.KindVM, "guest")
	recipe.SSHKeys = []string{line(given)}
	recipe.Ports = []api.PortSpec{{Port: sshPort}, {Port: sshPort, Address: cluster.AtExternalIP, Published: freePort}}
	tenant.Workload(ctx, recipe)
	t.Ciao(ctx, tenant.ID, "create", "instance", "guest", "--name", "guest", "--ssh-key", "kept", "--wait").Works(t, "create a machine with a kept key")
	guest := tenant.Get(ctx, "guest")
	lent := attached(ctx, t, tenant, guest)
	steps := []bat.Step{{Name: "the guest answers", Script: "within 60 ping -c 1 -W 2 " + guest.Addresses[0].String()}}
	if lent.IsValid() {
		steps = append(steps, bat.Works("the port of the external IP is reached", fmt.Sprintf("reaches %s %d", lent, freePort)))
	}
	tenant.Probe(ctx, steps...)
	if !t.Cluster.Local(ctx) {
		t.Logf("the cluster is not on this machine: whether anybody is let in is not judged")
		return
	}
	guest = tenant.Get(ctx, guest.ID)
	all := places(t, guest, lent)
	for _, place := range all {
		if said := letsIn(ctx, t, place, "the kept key", kept); said != guest.Name {
			t.Errorf("at %s it says that it is %q, not %s", place, said, guest.Name)
		}
	}
	letsIn(ctx, t, all[0], "the workload's key", given)
	if _, err := login(ctx, all[0], stranger); !refusedKey(err) {
		t.Errorf("a key that nobody was given ends with %v, expected to be refused", err)
	}
}

// attached gives the machine an external IP of whatever pool has one of IPv4; invalid where none has.
func attached(ctx context.Context, t *bat.T, tenant *bat.Tenant, guest api.Instance) netip.Addr {
	pool := t.FreePool(ctx, netip.Addr.Is4)
	if pool == "" {
		t.Logf("no pool of external IPs has a free address: ports of external IPs are not judged")
		return netip.Addr{}
	}
	lent, err := tenant.API.CreateExternalIP(ctx, api.CreateExternalIP{Pool: pool, Instance: guest.ID})
	t.Need(err, "attach an external IP of pool %s", pool)
	ctx, cancel := context.WithTimeout(ctx, t.Cluster.Scale(bat.SettleTime))
	defer cancel()
	_, err = tenant.API.AwaitExternalIP(ctx, lent.Address.String(), cluster.ExternalMapped)
	t.Need(err, "wait until %s is mapped", lent.Address)
	return lent.Address
}

// places are where the machine's SSH server is said to be reached: for logins, and as its workload publishes it.
func places(t *bat.T, guest api.Instance, lent netip.Addr) []string {
	if guest.SSH == nil {
		t.Fatalf("it is not said where a login reaches the machine")
	}
	all := []string{net.JoinHostPort(guest.SSH.Host, strconv.Itoa(guest.SSH.Port))}
	for _, port := range guest.Ports {
		if port.Port != sshPort || port.Host == lent.String() && port.Published != freePort {
			t.Errorf("a published port is %+v", port)
		}
		all = append(all, net.JoinHostPort(port.Host, strconv.Itoa(port.Published)))
	}
	want := 2
	if lent.IsValid() {
		want = 3
	}
	if len(all) != want {
		t.Errorf("the machine is reached at %v, expected %d places", all, want)
	}
	return all
}

func newKey(t *bat.T) ssh.Signer {
	_, private, err := ed25519.GenerateKey(nil)
	t.Need(err, "make a key")
	key, err := ssh.NewSignerFromKey(private)
	t.Need(err, "make a key")
	return key
}

func line(key ssh.Signer) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key.PublicKey())))
}

// letsIn logs in as soon as the guest's SSH server is up, and returns the name that the machine has for itself.
func letsIn(ctx context.Context, t *bat.T, place, name string, key ssh.Signer) (said string) {
	t.Until(ctx, bat.LaunchTime, name+" is let in at "+place, func(ctx context.Context) (bool, string) {
		var err error
		if said, err = login(ctx, place, key); err == nil {
			return true, ""
		}
		return false, err.Error()
	})
	return said
}

// loginTime is the limit of one login to an emulated machine.
const loginTime = 30 * time.Second

// login asks a machine for its name.
func login(ctx context.Context, place string, key ssh.Signer) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, loginTime)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", place)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	connection, channels, requests, err := ssh.NewClientConn(conn, place, &ssh.ClientConfig{
		User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(key)},
		HostKeyCallback: ssh.InsecureIgnoreHostKey(), // the machine has just made its key
	})
	if err != nil {
		return "", err
	}
	session, err := ssh.NewClient(connection, channels, requests).NewSession()
	if err != nil {
		return "", err
	}
	said, err := session.Output("hostname")
	return strings.TrimSpace(string(said)), err
}

// refusedKey says whether a server answered, and did not let the key in.
func refusedKey(err error) bool {
	return err != nil && !errors.Is(err, context.DeadlineExceeded) && strings.Contains(err.Error(), "unable to authenticate")
}
