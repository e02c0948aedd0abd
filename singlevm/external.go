package singlevm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
)

// The pools of external IPs that setup makes, one of each family: addresses of the underlay outside the range of its DHCP server, and none that a
// machine makes itself of what the router advertises.
const (
	poolName   = "lab"
	poolRange  = "198.51.100.16/28"
	poolName6  = "lab6"
	poolRange6 = "fd6a:90c4:1be7::100/120"
)

// makePools makes the pools, unless they are there, or the operator has removed the first and made others.
func makePools(ctx context.Context, operator *client.Client) error {
	present, err := operator.Pools(ctx)
	if err != nil {
		return err
	}
	is := func(name string) bool {
		return slices.ContainsFunc(present, func(p api.Pool) bool { return p.Name == name })
	}
	wanted := []api.CreatePool{{Name: poolName, Addresses: []string{poolRange}}, {Name: poolName6, Addresses: []string{poolRange6}}}
	for _, pool := range wanted {
		if is(pool.Name) || len(present) > 0 && !is(poolName) {
			continue
		}
		if _, err := operator.CreatePool(ctx, pool); err != nil {
			return fmt.Errorf("create pool %s: %w", pool.Name, err)
		}
	}
	return nil
}

// proofServer is the workload that answers on port 80.
const proofServer = "web"

// externalIPWorks has an instance of blue reached from this machine by its published port, and from this machine and from green by an external IP, and
// from neither without.
func (p *proof) externalIPWorks(ctx context.Context) error {
	if _, err := p.operator.Pool(ctx, poolName); err != nil {
		return fmt.Errorf("pool of external IPs, which `singlevm setup` makes: %w", err)
	}
	made, err := p.blue.CreateInstances(ctx, api.CreateInstances{Workload: proofServer, Name: proofName + "-web"})
	if err != nil {
		return err
	}
	if made, err = p.blue.Wait(ctx, made, client.Active, nil); err != nil {
		return err
	}
	if err := p.publishedPortAnswers(ctx, made[0].ID); err != nil {
		return err
	}
	created, err := p.blue.CreateExternalIP(ctx, api.CreateExternalIP{Pool: poolName, Instance: made[0].ID})
	if err != nil {
		return err
	}
	address := created.Address
	if _, err := p.blue.AwaitExternalIP(ctx, address.String(), cluster.ExternalMapped); err != nil {
		return err
	}
	if err := answersHTTP(ctx, address); err != nil {
		return fmt.Errorf("%s of %s does not answer this machine: %w", address, made[0].Name, err)
	}
	if err := p.probe.judge(ctx, p.greens[0], works("timeout 5 wget -q -O /dev/null http://%s/", address)); err != nil {
		return err
	}
	if err := p.detach(ctx, address); err != nil {
		return err
	}
	if answersHTTP(ctx, address) == nil {
		return fmt.Errorf("%s still answers, detached", address)
	}
	return p.externalIPInUse(ctx, address, made[0])
}

// publishedPortAnswers asks the server where its CNCI publishes it. It has just been started, and may need a moment.
func (p *proof) publishedPortAnswers(ctx context.Context, instance string) error {
	server, err := p.blue.Instance(ctx, instance)
	if err != nil {
		return err
	}
	if len(server.Ports) != 1 {
		return fmt.Errorf("%s publishes %v, not one port", server.Name, server.Ports)
	}
	at, err := netip.ParseAddrPort(net.JoinHostPort(server.Ports[0].Host, strconv.Itoa(server.Ports[0].Published)))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, p.setup.scaled(20*time.Second))
	defer cancel()
	for {
		if err = answersHTTP(ctx, at); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s, the published port of %s, does not answer this machine: %w", at, server.Name, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (p *proof) detach(ctx context.Context, address netip.Addr) error {
	_, err := p.blue.DetachExternalIP(ctx, address.String())
	if err == nil {
		_, err = p.blue.AwaitExternalIP(ctx, address.String(), cluster.ExternalReserved)
	}
	return err
}

// externalIPInUse has this machine take the address meanwhile: the cluster must leave it alone, say so, and take it when it is free.
func (p *proof) externalIPInUse(ctx context.Context, address netip.Addr, instance api.Instance) error {
	giveBack, err := takeAddress(address)
	if err != nil {
		return err
	}
	_, err = p.blue.AttachExternalIP(ctx, address.String(), instance.ID)
	if err == nil {
		_, err = p.blue.AwaitExternalIP(ctx, address.String(), cluster.ExternalMapped)
	}
	if failed := giveBack(); failed != nil {
		return failed
	}
	if !errors.Is(err, cluster.ErrUnavailable) || !strings.Contains(err.Error(), "in use on the underlay") {
		return fmt.Errorf("%s was in use on the underlay, and to attach it led to: %v", address, err)
	}
	for found := (api.ExternalIP{}); found.State != cluster.ExternalMapped; { // it is tried again
		if found, err = p.blue.ExternalIP(ctx, address.String()); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %s is free again and still %s", cluster.ErrTimeout, address, found.State)
		case <-time.After(20 * time.Millisecond):
		}
	}
	if err := answersHTTP(ctx, address); err != nil {
		return err
	}
	return p.externalEvents(ctx)
}

// externalEvents counts what was told of it.
func (p *proof) externalEvents(ctx context.Context) error {
	events, err := p.blue.Events(ctx, client.EventFilter{})
	if err != nil {
		return err
	}
	count := map[string]int{}
	for _, event := range events {
		count[event.Reason]++
	}
	for reason, want := range map[string]int{"Mapped": 2, "Unmapped": 1, "MappingFailed": 1} {
		if count[reason] != want {
			return fmt.Errorf("%d events %s, not %d", count[reason], reason, want)
		}
	}
	return nil
}

// takeAddress gives this machine's link on the underlay another address, until it is given back.
func takeAddress(address netip.Addr) (giveBack func() error, err error) {
	host, err := netlink.LinkByName(underlayHost)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", underlayHost, err)
	}
	own, err := netlink.ParseAddr(address.String() + "/32")
	if err == nil {
		err = netlink.AddrReplace(host, own)
	}
	if err != nil {
		return nil, fmt.Errorf("give %s the address %s: %w", underlayHost, address, err)
	}
	return func() error {
		if err := netlink.AddrDel(host, own); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return fmt.Errorf("take %s from %s: %w", address, underlayHost, err)
		}
		return nil
	}, nil
}

// answersHTTP asks for a page once.
func answersHTTP(ctx context.Context, at fmt.Stringer) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+at.String()+"/", nil)
	if err != nil {
		return err
	}
	transport := &http.Transport{DisableKeepAlives: true} // without the machine's proxies
	answer, err := transport.RoundTrip(request)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, answer.Body)
	return errors.Join(err, answer.Body.Close())
}

// releaseExternalIPs gives back what a tenant has of the pools, if the tenant is there.
func releaseExternalIPs(ctx context.Context, c *client.Client) error {
	held, err := c.ExternalIPs(ctx)
	if errors.Is(err, cluster.ErrNotFound) {
		return nil
	}
	for _, e := range held {
		if err == nil && e.Instance != "" {
			_, err = c.DetachExternalIP(ctx, e.Address.String())
		}
		if err == nil {
			_, err = c.AwaitExternalIP(ctx, e.Address.String(), cluster.ExternalReserved)
		}
		if err == nil {
			err = c.DeleteExternalIP(ctx, e.Address.String())
		}
	}
	return err
}
