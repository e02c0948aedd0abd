package singlevm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/ciaocloud/ciao/ccloudvm/guest"
	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
)

const machineCount = 2

// guestImage is what the proof's virtual machines start from: a workload and its image of one name.
type guestImage struct {
	image string
	user  string        // that the key lets in
	up    time.Duration // until emulated guests on a busy machine let somebody in
}

var (
	tinyGuest   = guestImage{tinyImage, "root", 45 * time.Second}
	debianGuest = guestImage{debianImage, "ciao", 8 * time.Minute}
)

// provideDebian gives the cluster the image and the workload of the full proof, unless it has them.
func (p *proof) provideDebian(ctx context.Context) error {
	found, err := p.operator.Image(ctx, debianImage)
	if err == nil && found.State == cluster.ImageActive {
		if _, err = p.operator.Workload(ctx, debianImage); err == nil {
			return nil
		}
	}
	if err != nil && !errors.Is(err, cluster.ErrNotFound) {
		return err
	}
	if err := p.setup.makeDebian(ctx); err != nil {
		return err
	}
	p.setup.progress.say("  uploading the image")
	if err := upload(ctx, p.operator, debianImage, p.setup.disks[debianImage]); err != nil {
		return err
	}
	return p.setup.makeWorkloads(ctx, p.operator)
}

// machinesAreEqual has virtual machines of blue live in the network of its containers and its process, and logs in to each. A node that runs
// none, because the machine lacks what it takes, is passed over.
func (p *proof) machinesAreEqual(ctx context.Context) error {
	if workloads, err := p.operator.Workloads(ctx); err != nil || !slices.ContainsFunc(workloads, func(w api.Workload) bool { return w.Name == p.guest.image }) {
		p.setup.progress.say("! there is no workload %s, so no virtual machine was proven; `singlevm setup` says why", p.guest.image)
		return err
	}
	key, err := guest.GenerateKey("verify")
	if err != nil {
		return err
	}
	made, err := p.blue.CreateInstances(ctx, api.CreateInstances{Workload: p.guest.image, Count: machineCount, Name: proofName + "-vm", SSHKeys: []string{key.PublicLine}})
	if err == nil {
		made, err = p.blue.Wait(ctx, made, client.Active, nil)
	}
	if err != nil {
		return err
	}
	p.machines, p.blues = made, append(p.blues, made...)
	var up, equal []func(context.Context) error
	for i, machine := range made {
		other := made[(i+1)%len(made)]
		up = append(up, func(ctx context.Context) error { return p.machineIsUp(ctx, machine) })
		equal = append(equal, func(ctx context.Context) error { return p.machineIsEqual(ctx, machine, other, key.Signer) })
	}
	if err := p.inParallel(ctx, up...); err != nil {
		return err
	}
	return p.inParallel(ctx, equal...)
}

func (p *proof) machineIsUp(ctx context.Context, machine api.Instance) error {
	up := fmt.Sprintf("until ping -c 1 -W 1 %s && nc -w 1 %[1]s 22 </dev/null | grep -q SSH; do sleep 0.1; done", machine.Addresses[0])
	if _, err := p.probe.outputWithin(ctx, p.setup.scaled(p.guest.up), p.blues[0], up); err != nil {
		return fmt.Errorf("%w; `ciao logs` shows its console", err)
	}
	return nil
}

// machineIsEqual expects the other machine to be up.
func (p *proof) machineIsEqual(ctx context.Context, machine, other api.Instance, key ssh.Signer) error {
	ctx, cancel := context.WithTimeout(ctx, p.setup.scaled(p.guest.up))
	defer cancel()
	if err := p.judgeProcess(ctx, works("ping -c 1 -W 5 %s", machine.Addresses[0])); err != nil {
		return err
	}
	said, err := p.login(ctx, machine, key, fmt.Sprintf("hostname && ping -c 1 -W 5 %s >/dev/null && ping -c 1 -W 5 %s >/dev/null && ! ping -c 1 -W 1 %s >/dev/null && echo done",
		other.Addresses[0], p.blues[1].Name, p.only().Addresses[0]))
	if err != nil {
		return err
	}
	if want := machine.Name + "\ndone"; strings.TrimSpace(said) != want {
		return fmt.Errorf("%w: commands in %s said %q, not %q", cluster.ErrConflict, machine.Name, said, want)
	}
	return p.loginFromOutside(ctx, machine, key)
}

// loginFromOutside logs in where the API says that it is possible from outside the tenant's network.
func (p *proof) loginFromOutside(ctx context.Context, machine api.Instance, key ssh.Signer) error {
	shown, err := p.blue.Instance(ctx, machine.ID)
	if err == nil && shown.SSH == nil {
		err = fmt.Errorf("%w: the API does not say where a login reaches %s", cluster.ErrConflict, machine.Name)
	}
	if err != nil {
		return err
	}
	at := net.JoinHostPort(shown.SSH.Host, strconv.Itoa(shown.SSH.Port))
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", at)
	if err != nil {
		return fmt.Errorf("%w: log in to %s at %s: %w", cluster.ErrUnavailable, machine.Name, at, err)
	}
	said, err := p.over(ctx, conn, machine, key, "hostname")
	if err == nil && strings.TrimSpace(said) != machine.Name {
		err = fmt.Errorf("%w: at %s answers %q, not %s", cluster.ErrConflict, at, said, machine.Name)
	}
	return err
}

// login executes a line in a virtual machine by SSH, on a connection that a container of the tenant makes.
func (p *proof) login(ctx context.Context, machine api.Instance, key ssh.Signer, line string) (string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ours, theirs := net.Pipe()
	defer ours.Close()
	relayed := make(chan error, 1)
	go func() {
		_, err := p.blue.Exec(ctx, p.blues[0].ID, client.Execution{
			Command: []string{"nc", machine.Addresses[0].String(), "22"}, Input: theirs, Output: theirs, Errors: io.Discard,
		})
		relayed <- errors.Join(err, theirs.Close())
	}()
	defer func() { cancel(); ours.Close(); <-relayed }()
	return p.over(ctx, ours, machine, key, line)
}

// over executes a line by SSH on a connection, which it closes.
func (p *proof) over(ctx context.Context, conn net.Conn, machine api.Instance, key ssh.Signer, line string) (string, error) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	connection, channels, requests, err := ssh.NewClientConn(conn, machine.Name, &ssh.ClientConfig{
		User: p.guest.user, Auth: []ssh.AuthMethod{ssh.PublicKeys(key)},
		HostKeyCallback: ssh.InsecureIgnoreHostKey(), // the tenant's own network, a moment after the machine made its key
	})
	if err != nil {
		return "", fmt.Errorf("%w: log in to %s: %w", cluster.ErrUnavailable, machine.Name, err)
	}
	session, err := ssh.NewClient(connection, channels, requests).NewSession()
	if err != nil {
		return "", fmt.Errorf("log in to %s: %w", machine.Name, err)
	}
	printed, err := session.CombinedOutput(line)
	if err != nil {
		return "", fmt.Errorf("%w: `%s` in %s: %w: %s", cluster.ErrConflict, line, machine.Name, err, bytes.TrimSpace(printed))
	}
	return string(printed), nil
}

// carriersAreGone looks for what the nodes may have kept of the process and the virtual machines.
func (p *proof) carriersAreGone() error {
	nodes, err := p.setup.identified()
	if err != nil {
		return err
	}
	for id, n := range nodes {
		err := n.withCarriers(id, func(c carriers) error {
			for _, instance := range append(slices.Clone(p.machines), p.process) {
				if instance.ID != "" && c.Trace(instance.ID) {
					return fmt.Errorf("%w: node %d still has something of %s", cluster.ErrConflict, n.number, instance.Name)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
