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
	"github.com/ciaocloud/ciao/cluster/config"
)

// verifyTimeout bounds the whole proof.
const verifyTimeout = 3 * time.Minute

// fullTimeout bounds it when it may make an image first, and has emulated machines of a whole distribution.
const fullTimeout = 20 * time.Minute

// proof is one run of Verify: two tenants of its own, their containers, and a server outside the cluster.
type proof struct {
	setup       *Setup
	guest       guestImage
	operator    *client.Client
	blue, green *client.Client // the operator, acting for the tenants
	blues       []api.Instance
	greens      []api.Instance
	process     api.Instance   // of blue
	machines    []api.Instance // of blue
	outside     *outside
	probe       prober
}

// What the proof makes.
const (
	proofBlue  = "verify-blue"
	proofGreen = "verify-green"
	proofName  = "verify"
	blueCount  = 2
	greenCount = 6 // more than blue, whose process and virtual machines have the addresses from the third on, so that green has one that blue has not
	probeImage = "busybox"
)

// Verify proves that the cluster works: tenants' containers on isolated networks, names, the way out, stop and start, and that
// nothing is left afterwards. It makes two tenants for that and removes them in any case; what users have is not touched.
func (s *Setup) Verify(ctx context.Context) (err error) {
	if set, err := config.Load(s.layout.clusterFile()); err == nil {
		s.config.TimeScale = max(s.config.TimeScale, set.TimeScale) // as slow as the cluster was told that the machine is
	}
	limit := verifyTimeout
	if s.config.Full {
		limit = fullTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, s.scaled(limit))
	defer cancel()
	p, err := s.newProof()
	if err != nil {
		return err
	}
	defer p.close()
	defer func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.scaled(time.Minute))
		defer cancel()
		if failed := p.removeTenants(last); err == nil {
			err = failed
		}
	}()
	var first []step
	if s.config.Full {
		first = []step{{"image and workload " + debianImage, p.provideDebian}}
	}
	return s.steps(ctx, append(first, []step{
		{"the node is ready, the workloads are there", p.clusterIsWhole},
		{fmt.Sprintf("%d containers of blue and %d of green run", blueCount, greenCount), p.createInstances},
		{"both tenants have the same private IPv4 addresses, and IPv6 addresses of their own", p.addressesAreTheSame},
		{"blue's containers reach each other by address and by name", p.tenantsReachThemselves},
		{"blue's CNCI answers for the names of blue, not of green", p.namesBelongToTenants},
		{"blue does not reach what only green has", p.tenantsAreIsolated},
		{"the underlay, its nodes and the API are out of reach", p.underlayIsClosed},
		{"a process of blue is one of them, and sees nothing else", p.processIsEqual},
		{fmt.Sprintf("%d virtual machines (%s) of blue are two of them, and let the owner of their key in", machineCount, p.guest.image), p.machinesAreEqual},
		{"a server beyond the machine is reached over IPv4 and IPv6, through its NAT", p.outsideIsReached},
		{"a published port of blue's server is reached from here; an external IP from green, too, and only while it is attached", p.externalIPWorks},
		{"stop and start keep identity and address", p.stopAndStart},
		{"what a container of blue wrote to a volume, the next one reads", p.volumeOutlives},
		{"all of it is deleted, an event says so for each", p.deleteAll},
		{"no container, process, machine, volume or reservation is left", p.nothingIsLeft},
		{"the tenants are deleted, their CNCIs with them", p.removeTenants},
	}...))
}

func (s *Setup) newProof() (*proof, error) {
	operator, err := newClient(s.layout.client(operatorName))
	if err != nil {
		return nil, err
	}
	guest := tinyGuest
	if s.config.Full {
		guest = debianGuest
	}
	return &proof{setup: s, guest: guest, probe: prober{s.engine}, operator: operator, blue: operator.ForTenant(proofBlue), green: operator.ForTenant(proofGreen)}, nil
}

func (p *proof) close() {
	if p.outside != nil {
		p.outside.close()
	}
	p.operator.Close()
}

func (p *proof) clusterIsWhole(ctx context.Context) error {
	if err := p.setup.waitReady(ctx); err != nil { // a node whose launcher has just begun may look at its engines once more
		return err
	}
	workloads, err := p.operator.Workloads(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(workloads, func(w api.Workload) bool { return w.Name == probeImage }) {
		return fmt.Errorf("%w: workload %s is gone: `singlevm setup` makes it again", cluster.ErrNotFound, probeImage)
	}
	if err := p.removeTenants(ctx); err != nil { // of a proof that was killed
		return err
	}
	for _, name := range []string{proofBlue, proofGreen} {
		if _, err := p.operator.CreateTenant(ctx, api.CreateTenant{Name: name}); err != nil {
			return err
		}
	}
	return nil
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

func (p *proof) addressesAreTheSame(context.Context) error {
	for i, blue := range p.blues {
		if blue.Addresses[0] != p.greens[i].Addresses[0] || blue.Addresses[1] == p.greens[i].Addresses[1] {
			return fmt.Errorf("instance %d has %v in blue and %v in green", i, blue.Addresses, p.greens[i].Addresses)
		}
	}
	return nil
}

// only is an instance of green at an address that blue has not: what blue does not reach there, it does not reach because of isolation.
func (p *proof) only() api.Instance { return p.greens[greenCount-1] }

func (p *proof) tenantsReachThemselves(ctx context.Context) error {
	from, to := p.blues[0], p.blues[1]
	return p.probe.judge(ctx, from,
		works("ping -c 1 -W 5 %s", to.Addresses[0]),
		works("ping -c 1 -W 5 %s", to.Addresses[1]),
		works("ping -c 1 -W 5 %s", to.Name))
}

// namesBelongToTenants asks the CNCI itself, which is the gateway, and not the resolver of the engine.
func (p *proof) namesBelongToTenants(ctx context.Context) error {
	from, other := p.blues[0], p.blues[1]
	gateway := subnet(from.Addresses[0]).Addr().Next()
	return p.probe.judge(ctx, from,
		works("nslookup %s %s | grep -wF %s", other.Name, gateway, other.Addresses[0]),
		works("nslookup -type=aaaa %s %s | grep -wF %s", other.Name, gateway, other.Addresses[1]),
		fails("nslookup %s %s", p.only().Name, gateway))
}

func (p *proof) tenantsAreIsolated(ctx context.Context) error {
	only, only6 := p.only().Addresses[0], p.only().Addresses[1]
	return p.inParallel(ctx,
		func(ctx context.Context) error {
			if err := p.probe.judge(ctx, p.greens[0], works("ping -c 1 -W 5 %s", only), works("ping -c 1 -W 5 %s", only6)); err != nil {
				return fmt.Errorf("green itself must reach it, or the proof proves nothing: %w", err)
			}
			return nil
		},
		func(ctx context.Context) error {
			return p.probe.judge(ctx, p.blues[0],
				fails("ping -c 1 -W 1 %s", only),
				fails("ping -c 1 -W 1 %s", only6),
				fails("arping -c 1 -w 1 -I eth0 %s", only))
		},
	)
}

func (p *proof) underlayIsClosed(ctx context.Context) error {
	nodes, err := p.operator.Nodes(ctx, "")
	if err != nil {
		return err
	}
	closed := []probing{fails("nc -w 1 %s 8889", hostAddress), fails("nc -w 1 %s 8888", hostAddress)}
	if own, err := blockedPrefixes(); err == nil { // the machine's own addresses, which the underlay's router has too
		for _, text := range own {
			if prefix, err := netip.ParsePrefix(text); err == nil && prefix.IsSingleIP() {
				closed = append(closed, fails("ping -c 1 -W 1 %s", prefix.Addr()))
			}
		}
	}
	for _, node := range nodes {
		for _, address := range node.Underlay {
			closed = append(closed, fails("ping -c 1 -W 1 %s", address))
		}
	}
	return p.probe.judge(ctx, p.blues[0], closed...)
}

func (p *proof) outsideIsReached(ctx context.Context) error {
	outside, err := newOutside()
	if err != nil {
		return err
	}
	p.outside = outside
	for _, call := range outside.calls {
		// A CNCI that has just come takes some seconds to hear of the underlay's IPv6 and to make itself an address.
		line := fmt.Sprintf("for i in 1 2 3 4 5 6 7 8 9 10; do timeout 5 wget -q -O - %s && exit; sleep 1; done; exit 1", call.url)
		seen, err := p.probe.output(ctx, p.blues[0], line)
		if err != nil {
			return fmt.Errorf("%w; `singlevm doctor` looks for a firewall that blocks it", err)
		}
		if strings.TrimSpace(seen) != call.machine {
			return fmt.Errorf("the server saw %s call, where the machine's NAT should show %s", seen, call.machine)
		}
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
	return p.probe.judge(ctx, p.blues[0], works("ping -c 1 -W 5 %s", before.Addresses[0]))
}

func (p *proof) deleteAll(ctx context.Context) error {
	if err := errors.Join(p.removeInstances(ctx), releaseExternalIPs(ctx, p.blue), p.blue.DeleteVolumes(ctx)); err != nil {
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
		if left, err := p.probe.exists(ctx, instance); err != nil || left {
			return errors.Join(err, fmt.Errorf("the engine still has the container of %s", instance.Name))
		}
	}
	if err := p.carriersAreGone(); err != nil {
		return err
	}
	for _, tenant := range []string{proofBlue, proofGreen} {
		quota, err := p.operator.Quota(ctx, tenant)
		if err != nil {
			return err
		}
		for _, item := range quota.Items {
			if item.Used != 0 {
				return fmt.Errorf("%s has no instances and still %g of its quota %s in use", tenant, item.Used, item.Name)
			}
		}
	}
	return nil
}

// removeInstances deletes the tenants' instances and waits until they are gone.
func (p *proof) removeInstances(ctx context.Context) error {
	remove := func(c *client.Client) func(context.Context) error {
		return func(ctx context.Context) error {
			instances, err := c.Instances(ctx, client.InstanceFilter{})
			if errors.Is(err, cluster.ErrNotFound) {
				return nil
			}
			if err == nil {
				_, err = c.DeleteInstances(ctx, client.InstanceFilter{})
			}
			if err == nil {
				_, err = c.Wait(ctx, instances, client.Deleted, nil)
			}
			return err
		}
	}
	return p.inParallel(ctx, remove(p.blue), remove(p.green))
}

// removeTenants removes the tenants, if they are there, with all they have, and waits until their CNCIs are gone.
func (p *proof) removeTenants(ctx context.Context) error {
	if err := p.removeInstances(ctx); err != nil {
		return err
	}
	if err := errors.Join(releaseExternalIPs(ctx, p.blue), releaseExternalIPs(ctx, p.green)); err != nil {
		return err
	}
	gone := make(map[string]bool)
	for _, name := range []string{proofBlue, proofGreen} {
		tenant, err := p.operator.Tenant(ctx, name)
		if errors.Is(err, cluster.ErrNotFound) {
			continue
		}
		if err == nil {
			err = p.operator.ForTenant(tenant.ID).DeleteVolumes(ctx)
		}
		if err == nil {
			err = p.operator.DeleteTenant(ctx, tenant.ID)
		}
		if err != nil {
			return err
		}
		gone[tenant.ID] = true
	}
	return p.concentratorsGo(ctx, gone)
}

// concentratorsGo waits until the tenants have no CNCI any more.
func (p *proof) concentratorsGo(ctx context.Context, tenants map[string]bool) error {
	if len(tenants) == 0 {
		return nil
	}
	for change, err := range p.operator.Watch(ctx, api.ChangeCNCI) {
		if err != nil {
			return err
		}
		if change.Type != api.ChangeResync && !change.Deleted {
			continue
		}
		left, err := p.operator.CNCIs(ctx)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(left, func(c api.CNCI) bool { return tenants[c.Tenant] }) {
			return nil
		}
	}
	return fmt.Errorf("%w: the CNCIs of the deleted tenants are still there", cluster.ErrTimeout)
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
