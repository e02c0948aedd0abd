package singlevm

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
)

// verifyTimeout bounds the whole proof.
const verifyTimeout = 3 * time.Minute

// proof is one run of Verify: two tenants, their containers, and a server outside the cluster.
type proof struct {
	setup       *Setup
	operator    *client.Client
	blue, green *client.Client
	blues       []api.Instance
	greens      []api.Instance
	only        api.Instance // of green, at an address that blue has not
	outside     *outside
	probe       prober
}

// names of the instances that the proof makes.
const (
	proofName  = "verify"
	blueCount  = 2
	greenCount = 3 // one more, so that green has an address that blue has not
	probeImage = "busybox"
)

// Verify proves that the cluster works: tenants' containers on isolated networks, names, the way out, stop and start, and that
// nothing is left afterwards. What it made is removed in any case; instances of users are not touched.
func (s *Setup) Verify(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, s.scaled(verifyTimeout))
	defer cancel()
	p, err := s.newProof()
	if err != nil {
		return err
	}
	defer p.close()
	defer func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.scaled(time.Minute))
		defer cancel()
		if failed := p.removeInstances(last); err == nil {
			err = failed
		}
	}()
	return s.steps(ctx, []step{
		{"the node is ready, the workloads are there", p.clusterIsWhole},
		{fmt.Sprintf("%d containers of blue and %d of green run", blueCount, greenCount), p.createInstances},
		{"both tenants have the same private range", p.rangesAreTheSame},
		{"blue's containers reach each other by address and by name", p.tenantsReachThemselves},
		{"blue's CNCI answers for the names of blue, not of green", p.namesBelongToTenants},
		{"blue does not reach what only green has", p.tenantsAreIsolated},
		{"the underlay, its nodes and the API are out of reach", p.underlayIsClosed},
		{"a server beyond the machine is reached, through its NAT", p.outsideIsReached},
		{"stop and start keep identity and address", p.stopAndStart},
		{"all of it is deleted, an event says so for each", p.deleteAll},
		{"no container, port or reservation is left", p.nothingIsLeft},
	})
}

func (s *Setup) newProof() (*proof, error) {
	p := &proof{setup: s, probe: prober{s.engine}}
	for name, c := range map[string]**client.Client{operatorName: &p.operator, "blue": &p.blue, "green": &p.green} {
		made, err := newClient(s.layout.client(name))
		if err != nil {
			return nil, err
		}
		*c = made
	}
	return p, nil
}

func (p *proof) close() {
	if p.outside != nil {
		p.outside.close()
	}
	for _, c := range []*client.Client{p.operator, p.blue, p.green} {
		c.Close()
	}
}

func (p *proof) clusterIsWhole(ctx context.Context) error {
	if err := p.setup.ready(ctx); err != nil {
		return fmt.Errorf("%w; `singlevm status` tells more", err)
	}
	workloads, err := p.blue.Workloads(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(workloads, func(w api.Workload) bool { return w.Name == probeImage }) {
		return fmt.Errorf("%w: workload %s is gone: `singlevm setup` makes it again", cluster.ErrNotFound, probeImage)
	}
	return p.removeInstances(ctx) // of a proof that was killed
}

func (p *proof) createInstances(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	create := func(c *client.Client, count int, into *[]api.Instance) {
		group.Go(func() error {
			made, err := c.CreateInstances(ctx, api.CreateInstances{Workload: probeImage, Count: count, Name: proofName})
			if err != nil {
				return err
			}
			*into, err = c.Wait(ctx, made, client.Active, nil)
			return err
		})
	}
	create(p.blue, blueCount, &p.blues)
	create(p.green, greenCount, &p.greens)
	return group.Wait()
}

// rangesAreTheSame finds that both tenants use one range, and an instance of green with an address that blue has not: what blue does
// not reach there, it does not reach because of isolation.
func (p *proof) rangesAreTheSame(ctx context.Context) error {
	taken := make(map[netip.Addr]bool)
	blues, err := p.blue.Instances(ctx, client.InstanceFilter{})
	if err != nil {
		return err
	}
	for _, blue := range blues {
		taken[blue.Addresses[0]] = true
	}
	for _, green := range p.greens {
		address := green.Addresses[0]
		if subnet(address) != subnet(p.blues[0].Addresses[0]) {
			return fmt.Errorf("green has %s and blue has %s, which are not of one range", address, p.blues[0].Addresses[0])
		}
		if !taken[address] {
			p.only = green
			return nil
		}
	}
	return errors.New("blue has instances at every address of green's: delete some, so that something is left to prove isolation with")
}

func (p *proof) tenantsReachThemselves(ctx context.Context) error {
	from, to := p.blues[0], p.blues[1]
	return errors.Join(
		p.probe.succeeds(ctx, from, "ping", "-c", "1", "-W", "5", to.Addresses[0].String()),
		p.probe.succeeds(ctx, from, "ping", "-c", "1", "-W", "5", to.Name),
	)
}

// namesBelongToTenants asks the CNCI itself, which is the gateway, and not the resolver of the engine.
func (p *proof) namesBelongToTenants(ctx context.Context) error {
	from, only := p.blues[0], p.only
	gateway := subnet(from.Addresses[0]).Addr().Next().String()
	answer, err := p.probe.output(ctx, from, "nslookup", p.blues[1].Name, gateway)
	if err != nil || !strings.Contains(answer, p.blues[1].Addresses[0].String()) {
		return fmt.Errorf("the CNCI at %s does not answer for %s: %s %w", gateway, p.blues[1].Name, answer, orUnexpected(err))
	}
	return p.probe.fails(ctx, from, "nslookup", only.Name, gateway)
}

func (p *proof) tenantsAreIsolated(ctx context.Context) error {
	only := p.only.Addresses[0].String()
	neighbour := p.greens[slices.IndexFunc(p.greens, func(i api.Instance) bool { return i.ID != p.only.ID })]
	if err := p.probe.succeeds(ctx, neighbour, "ping", "-c", "1", "-W", "5", only); err != nil {
		return fmt.Errorf("green itself must reach it, or the proof proves nothing: %w", err)
	}
	return p.inParallel(ctx,
		func(ctx context.Context) error {
			return p.probe.fails(ctx, p.blues[0], "ping", "-c", "1", "-W", "1", only)
		},
		func(ctx context.Context) error {
			return p.probe.fails(ctx, p.blues[0], "arping", "-c", "1", "-w", "1", "-I", "eth0", only)
		},
	)
}

func (p *proof) underlayIsClosed(ctx context.Context) error {
	nodes, err := p.operator.Nodes(ctx, "")
	if err != nil {
		return err
	}
	closed := []func(context.Context) error{
		func(ctx context.Context) error {
			return p.probe.fails(ctx, p.blues[0], "nc", "-w", "1", hostAddress, "8889")
		},
		func(ctx context.Context) error {
			return p.probe.fails(ctx, p.blues[1], "nc", "-w", "1", hostAddress, "8888")
		},
	}
	for _, node := range nodes {
		for _, address := range node.Underlay {
			closed = append(closed, func(ctx context.Context) error {
				return p.probe.fails(ctx, p.blues[0], "ping", "-c", "1", "-W", "1", address.String())
			})
		}
	}
	return p.inParallel(ctx, closed...)
}

func (p *proof) outsideIsReached(ctx context.Context) error {
	outside, err := newOutside()
	if err != nil {
		return err
	}
	p.outside = outside
	seen, err := p.probe.output(ctx, p.blues[0], "wget", "-q", "-T", "5", "-O", "-", outside.url)
	if err != nil {
		return fmt.Errorf("%w; `singlevm doctor` looks for a firewall that blocks it", err)
	}
	if strings.TrimSpace(seen) != outside.machine {
		return fmt.Errorf("the server saw %s call, where the machine's NAT should show %s", seen, outside.machine)
	}
	return nil
}

func (p *proof) stopAndStart(ctx context.Context) error {
	before := p.blues[1]
	stopping, err := p.blue.StopInstance(ctx, before.ID)
	if err != nil {
		return err
	}
	if _, err := p.blue.Wait(ctx, []api.Instance{stopping}, client.Inactive, nil); err != nil {
		return err
	}
	starting, err := p.blue.StartInstance(ctx, before.ID)
	if err != nil {
		return err
	}
	after, err := p.blue.Wait(ctx, []api.Instance{starting}, client.Active, nil)
	if err != nil {
		return err
	}
	if got := after[0]; got.Name != before.Name || got.MAC != before.MAC || !slices.Equal(got.Addresses, before.Addresses) || got.Node != before.Node {
		return fmt.Errorf("the instance was %s %s %v on %s and is %s %s %v on %s", before.Name, before.MAC, before.Addresses, before.Node, got.Name, got.MAC, got.Addresses, got.Node)
	}
	return p.probe.succeeds(ctx, p.blues[0], "ping", "-c", "1", "-W", "5", before.Addresses[0].String())
}

func (p *proof) deleteAll(ctx context.Context) error {
	if err := p.removeInstances(ctx); err != nil {
		return err
	}
	for _, instance := range p.blues {
		events, err := p.blue.Events(ctx, client.EventFilter{Instance: instance.ID})
		if err != nil {
			return err
		}
		deleted := 0
		for _, event := range events {
			if event.Reason == "Deleted" {
				deleted++
			}
		}
		if deleted != 1 {
			return fmt.Errorf("%d events say that %s was deleted, not one", deleted, instance.Name)
		}
	}
	return nil
}

func (p *proof) nothingIsLeft(ctx context.Context) error {
	for _, instance := range append(slices.Clone(p.blues), p.greens...) {
		if left, err := p.probe.exists(ctx, instance.ID); err != nil || left {
			return errors.Join(err, fmt.Errorf("the engine still has the container of %s", instance.Name))
		}
	}
	for tenant, c := range map[string]*client.Client{"blue": p.blue, "green": p.green} {
		instances, err := c.Instances(ctx, client.InstanceFilter{})
		if err != nil {
			return err
		}
		quota, err := c.Quota(ctx, tenant)
		if err != nil {
			return err
		}
		for _, item := range quota.Items {
			if len(instances) == 0 && item.Used != 0 {
				return fmt.Errorf("%s has no instances and still %g of its quota %s in use", tenant, item.Used, item.Name)
			}
		}
	}
	return nil
}

// removeInstances deletes what a proof made, this one or one before, and waits until it is gone.
func (p *proof) removeInstances(ctx context.Context) error {
	return p.inParallel(ctx,
		func(ctx context.Context) error { return removeProofs(ctx, p.blue) },
		func(ctx context.Context) error { return removeProofs(ctx, p.green) })
}

func removeProofs(ctx context.Context, c *client.Client) error {
	instances, err := c.Instances(ctx, client.InstanceFilter{})
	if err != nil {
		return err
	}
	ours := slices.DeleteFunc(instances, func(i api.Instance) bool { return !strings.HasPrefix(i.Name, proofName+"-") })
	for _, instance := range ours {
		if _, err := c.DeleteInstance(ctx, instance.ID); err != nil && !errors.Is(err, cluster.ErrNotFound) {
			return err
		}
	}
	_, err = c.Wait(ctx, ours, client.Deleted, nil)
	return err
}

func (p *proof) inParallel(ctx context.Context, tasks ...func(context.Context) error) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, task := range tasks {
		group.Go(func() error { return task(ctx) })
	}
	return group.Wait()
}

// subnet is the subnet of a tenant's address, at the size that setup's tenants have.
func subnet(address netip.Addr) netip.Prefix {
	return netip.PrefixFrom(address, cluster.DefaultSubnetBits).Masked()
}

var errUnexpected = errors.New("the answer is another")

func orUnexpected(err error) error {
	if err == nil {
		return errUnexpected
	}
	return err
}
