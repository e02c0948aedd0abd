package kernel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/ciaocloud/ciao/cluster/network"
	"github.com/ciaocloud/ciao/cluster/network/dhcp"
	"github.com/ciaocloud/ciao/cluster/network/netns"
)

// ConcentratorConfig is what a CNCI's network is made from. The namespace and its link to the underlay exist: Spaces makes them.
type ConcentratorConfig struct {
	Cluster   string
	Instance  string // id of the CNCI
	Namespace string // path of the CNCI's namespace; empty is the process's own
	Log       *slog.Logger
}

// Concentrator is the network of one CNCI, worked on from inside its namespace.
type Concentrator struct {
	config ConcentratorConfig
	dhcp   *dhcp.Server

	gate   chan struct{} // holds one token: guards what follows
	opened *openedConcentrator
	last   *network.Concentrator
}

// openedConcentrator is a namespace in use.
type openedConcentrator struct {
	namespace *os.File
	space     *space
	underlay  *underlay
	converger *network.Converger
	announce  map[netip.Addr]int // how often external addresses are still to be announced
	prefixes6 []netip.Prefix     // of the underlay, as the filter knows them
	hosts     []network.Host     // those that were wanted when the kernel was last brought in line
}

// NewConcentrator makes the network of a CNCI; the kernel is first touched by Apply or Remove. Run must run beside it.
func NewConcentrator(config ConcentratorConfig) *Concentrator {
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	c := &Concentrator{config: config, gate: make(chan struct{}, 1)}
	c.dhcp = dhcp.NewServer(runDirectory(config.Cluster, config.Instance), c.inside, config.Log)
	return c
}

// runDirectory is where a CNCI's dnsmasq has its files, until the machine restarts. It is not among the agent's own files: dnsmasq
// reads its own again after it has given up root's rights, so that every directory above must be open to all.
func runDirectory(cluster, instance string) string {
	return filepath.Join("/run/ciao", cluster, network.ConcentratorNamespace(cluster, instance))
}

// removeRunDirectory removes the directory, and those above it when they are empty.
func removeRunDirectory(cluster, instance string) error {
	directory := runDirectory(cluster, instance)
	if err := os.RemoveAll(directory); err != nil {
		return err
	}
	if os.Remove(filepath.Dir(directory)) == nil {
		os.Remove(filepath.Dir(filepath.Dir(directory)))
	}
	return nil
}

// inside runs f in the CNCI's namespace.
func (c *Concentrator) inside(f func() error) error {
	namespace, err := netns.Open(c.config.Namespace)
	if err != nil {
		return err
	}
	defer namespace.Close()
	return netns.Inside(namespace, f)
}

// Connect brings the CNCI onto the underlay, without which nobody can tell its agent what is wanted. It waits for a lease.
func (c *Concentrator) Connect(ctx context.Context) (facts network.ConcentratorFacts, err error) {
	if err := enter(ctx, c.gate); err != nil {
		return facts, err
	}
	defer leave(c.gate)
	prefix, err := netip.Prefix{}, c.open()
	if err == nil {
		prefix, _, err = c.opened.underlay.ready(ctx)
	}
	if err != nil {
		return facts, fmt.Errorf("bring CNCI %s onto the underlay: %w", c.config.Instance, err)
	}
	return network.ConcentratorFacts{Underlay: prefix.Addr()}, nil
}

// Apply implements network.ConcentratorNetwork.
func (c *Concentrator) Apply(ctx context.Context, wanted network.Concentrator) (network.ConcentratorFacts, error) {
	if err := enter(ctx, c.gate); err != nil {
		return network.ConcentratorFacts{}, err
	}
	defer leave(c.gate)
	facts, err := c.apply(ctx, wanted)
	if err != nil {
		return facts, fmt.Errorf("network of CNCI %s: %w", c.config.Instance, err)
	}
	return facts, nil
}

func (c *Concentrator) apply(ctx context.Context, wanted network.Concentrator) (facts network.ConcentratorFacts, err error) {
	if err := c.open(); err != nil {
		return facts, err
	}
	prefix, mtu, err := c.opened.underlay.ready(ctx)
	if err != nil {
		return facts, err
	}
	facts.Underlay = prefix.Addr()
	prefixes6, err := c.opened.underlay.prefixes6()
	if err != nil {
		return facts, err
	}
	site := network.Site{Cluster: c.config.Cluster, Underlay: prefix, Underlay6: prefixes6, MTU: mtu}
	if _, err := network.ConcentratorImage(site, wanted); err != nil { // before anybody is asked about its addresses
		return facts, err
	}
	last := wanted
	c.last = &last
	var unable []network.Unclaimed
	if !hasIPv6() {
		wanted, unable = withoutIPv6(wanted), unmapped6(wanted)
	}
	claimed, err := c.claim(ctx, wanted.Mappings)
	if err != nil {
		return facts, err
	}
	wanted.Mappings, facts.Unclaimed = claimed.mappings, append(claimed.refused, unable...)
	image, err := network.ConcentratorImage(site, wanted)
	if err != nil {
		return facts, err
	}
	bridge := network.BridgeName(wanted.Subnet.ID)
	before := c.index(bridge)
	if err := c.opened.converger.Apply(ctx, image); err != nil {
		return facts, err
	}
	if err := c.opened.space.endConnectionsOfGone(c.opened.hosts, wanted.Hosts); err != nil {
		return facts, err
	}
	c.opened.hosts = wanted.Hosts
	c.announceAll(claimed)
	c.opened.prefixes6 = prefixes6
	if wanted.Subnet.Prefix6.IsValid() { // the settings of the image, which take IPv6 from all links, come first
		if err := c.opened.underlay.listen6(); err != nil {
			return facts, err
		}
	}
	if before != c.index(bridge) { // a dnsmasq that a predecessor left is bound to a link that is gone
		if err := c.dhcp.Restart(ctx); err != nil {
			return facts, err
		}
	}
	return facts, c.dhcp.Apply(ctx, dhcp.Subnet{Link: bridge, Prefix: wanted.Subnet.Prefix, Gateway: wanted.Subnet.Gateway,
		Prefix6: wanted.Subnet.Prefix6, Gateway6: wanted.Subnet.Gateway6, Domain: wanted.Domain, MTU: mtu - network.Overhead, Hosts: wanted.Hosts, Servers: c.opened.underlay.lease.Servers})
}

// claims are what became of wanted external addresses.
type claims struct {
	mappings []network.Mapping // those that are ours
	fresh    []netip.Addr      // of them, those that the link does not have yet
	refused  []network.Unclaimed
}

// claim takes the external addresses that nobody else on the underlay has. One that the link has already is ours.
func (c *Concentrator) claim(ctx context.Context, wanted []network.Mapping) (result claims, err error) {
	have, err := c.opened.underlay.externals()
	if err != nil {
		return result, err
	}
	for _, m := range wanted {
		if !have[m.External] {
			result.fresh = append(result.fresh, m.External)
		}
	}
	taken, err := c.opened.underlay.claim(ctx, result.fresh)
	if err != nil {
		return result, err
	}
	for _, m := range wanted {
		if owner, ok := taken[m.External]; ok {
			result.refused = append(result.refused, network.Unclaimed{External: m.External,
				Problem: fmt.Sprintf("it is in use on the underlay, by a machine with the MAC address %s", owner)})
			continue
		}
		result.mappings = append(result.mappings, m)
	}
	result.fresh = slices.DeleteFunc(result.fresh, func(a netip.Addr) bool { return taken[a] != nil })
	return result, nil
}

// announceAll announces external addresses that have just come here, and has them announced again by announceMore; those that are not
// here any more are not.
func (c *Concentrator) announceAll(claimed claims) {
	maps.DeleteFunc(c.opened.announce, func(address netip.Addr, _ int) bool {
		return !slices.ContainsFunc(claimed.mappings, func(m network.Mapping) bool { return m.External == address })
	})
	for _, address := range claimed.fresh {
		c.opened.announce[address] = announcements
	}
	if len(claimed.fresh) > 0 {
		c.announceMore()
	}
}

// announceMore makes one announcement of each address that is still to be announced.
func (c *Concentrator) announceMore() {
	for address, left := range c.opened.announce {
		if err := c.opened.underlay.announce(address); err != nil {
			c.config.Log.Warn("an external address is not announced; neighbours learn of it by asking", "address", address, "err", err)
		}
		if c.opened.announce[address] = left - 1; left <= 1 {
			delete(c.opened.announce, address)
		}
	}
}

// index is the index of a link; zero when it is not there.
func (c *Concentrator) index(name string) int {
	link, err := c.opened.space.links.LinkByName(name)
	if err != nil {
		return 0
	}
	return link.Attrs().Index
}

func (c *Concentrator) open() error {
	if c.opened != nil {
		return nil
	}
	namespace, err := netns.Open(c.config.Namespace)
	if err != nil {
		return err
	}
	space, err := openSpace(namespace, nil)
	if err != nil {
		return errors.Join(err, namespace.Close())
	}
	c.opened = &openedConcentrator{
		namespace: namespace, space: space,
		underlay:  &underlay{namespace: namespace, links: space.links, log: c.config.Log},
		converger: network.NewConverger(space),
		announce:  map[netip.Addr]int{},
	}
	return nil
}

// Run renews the lease, follows the underlay's IPv6 prefixes, keeps dnsmasq running and repairs what was changed behind our back, until ctx ends. dnsmasq is left running
// for the next one to take over; Remove ends it.
func (c *Concentrator) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { c.dhcp.Run(ctx) })
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	repair := time.Now().Add(repairEvery)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if changed := c.renew(ctx); changed || time.Now().After(repair) {
			c.repair(ctx)
			repair = time.Now().Add(repairEvery)
		}
	}
}

func (c *Concentrator) renew(ctx context.Context) (changed bool) {
	if enter(ctx, c.gate) != nil {
		return false
	}
	defer leave(c.gate)
	if c.opened == nil {
		return false
	}
	c.announceMore()
	prefixes6, err := c.opened.underlay.prefixes6()
	advertised := err == nil && !slices.Equal(prefixes6, c.opened.prefixes6)
	return c.opened.underlay.keep(ctx) || advertised
}

func (c *Concentrator) repair(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, repairEvery)
	defer cancel()
	if enter(ctx, c.gate) != nil {
		return
	}
	defer leave(c.gate)
	if c.last == nil {
		return
	}
	c.opened.converger.Forget()
	if _, err := c.apply(ctx, *c.last); err != nil && ctx.Err() == nil {
		c.config.Log.Warn("the CNCI's network cannot be repaired; trying again", "err", err)
	}
}

// Remove implements network.ConcentratorNetwork.
func (c *Concentrator) Remove(ctx context.Context) error {
	if err := enter(ctx, c.gate); err != nil {
		return err
	}
	defer leave(c.gate)
	c.last = nil
	err := errors.Join(c.open(), c.dhcp.Stop(ctx))
	if err == nil {
		err = c.opened.converger.Apply(ctx, network.NewImage())
	}
	if err != nil {
		return fmt.Errorf("remove the network of CNCI %s: %w", c.config.Instance, err)
	}
	c.opened.space.close()
	err = c.opened.namespace.Close()
	c.opened = nil
	return err
}

// Counters are the packets that each named rule of the CNCI's filter met; see network.Blocked and its neighbours.
func (c *Concentrator) Counters(ctx context.Context) (map[string]uint64, error) {
	return counters(c.config.Namespace)
}

var _ network.ConcentratorNetwork = (*Concentrator)(nil)
