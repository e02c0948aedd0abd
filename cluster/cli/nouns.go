package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/terminal"
)

// lookIn is how long names are looked up for a convenience: completing a word, correcting one.
const lookIn = 2 * time.Second

// noun is a kind of things that arguments name.
type noun struct {
	plural   string
	argument string // what it is named by, in the words of the help: an id will do everywhere
	operator bool   // looked at with the operator's certificate if there is one
	names    func(context.Context, *client.Client) ([]string, error)
}

var (
	instances = noun{"instances", "INSTANCE", false, func(ctx context.Context, c *client.Client) ([]string, error) {
		items, err := c.Instances(ctx, client.InstanceFilter{})
		return namesOf(items, func(i api.Instance) string { return i.Name }), err
	}}
	workloads = noun{"workloads", "WORKLOAD", false, func(ctx context.Context, c *client.Client) ([]string, error) {
		items, err := c.Workloads(ctx)
		return namesOf(items, func(w api.Workload) string { return w.Name }), err
	}}
	images = noun{"images", "IMAGE", false, func(ctx context.Context, c *client.Client) ([]string, error) {
		items, err := c.Images(ctx)
		return namesOf(items, func(i api.Image) string { return i.Name }), err
	}}
	volumes = noun{"volumes", "VOLUME", false, func(ctx context.Context, c *client.Client) ([]string, error) {
		items, err := c.Volumes(ctx)
		return namesOf(items, func(v api.Volume) string { return cmp.Or(v.Name, v.ID) }), err
	}}
	sshKeys = noun{"ssh-keys", "NAME", false, func(ctx context.Context, c *client.Client) ([]string, error) {
		items, err := c.SSHKeys(ctx)
		return namesOf(items, func(k api.SSHKey) string { return k.Name }), err
	}}
	nodes = noun{"nodes", "NODE", true, func(ctx context.Context, c *client.Client) ([]string, error) {
		items, err := c.Nodes(ctx, "")
		return namesOf(items, func(n api.Node) string { return n.Hostname }), err
	}}
	tenants = noun{"tenants", "TENANT", true, func(ctx context.Context, c *client.Client) ([]string, error) {
		items, err := c.Tenants(ctx)
		return namesOf(items, func(t api.Tenant) string { return t.Name }), err
	}}
	pools = noun{"pools", "POOL", false, func(ctx context.Context, c *client.Client) ([]string, error) {
		items, err := c.Pools(ctx)
		return namesOf(items, func(p api.Pool) string { return p.Name }), err
	}}
	externalIPs = noun{"external-ips", "ADDRESS", false, func(ctx context.Context, c *client.Client) ([]string, error) {
		items, err := c.ExternalIPs(ctx)
		return namesOf(items, func(e api.ExternalIP) string { return e.Address.String() }), err
	}}
	cncis = noun{"cncis", "ID", false, func(ctx context.Context, c *client.Client) ([]string, error) {
		items, err := c.CNCIs(ctx)
		return namesOf(items, func(c api.CNCI) string { return c.ID }), err
	}}
)

// lendable are what an external IP can be had of: one that the tenant has, or a pool.
var lendable = noun{"external-ips", "ADDRESS|POOL", false, func(ctx context.Context, c *client.Client) ([]string, error) {
	addresses, err := externalIPs.names(ctx, c)
	names, err2 := pools.names(ctx, c)
	return append(addresses, names...), errors.Join(err, err2)
}}

func namesOf[T any](items []T, name func(T) string) []string {
	names := make([]string, len(items))
	for i, item := range items {
		names[i] = name(item)
	}
	return names
}

// asOperator is the noun of commands that only operators may give.
func (n noun) asOperator() noun {
	n.operator = true
	return n
}

// singular is the noun of commands on one thing.
func (n noun) singular() string { return strings.TrimSuffix(n.plural, "s") }

// hint makes the error that nothing is called ref say what is called nearly so, or how to find out.
func (n noun) hint(ctx context.Context, c *client.Client, ref string, err error) error {
	if !errors.Is(err, cluster.ErrNotFound) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, lookIn)
	defer cancel()
	names, failure := n.names(ctx, c)
	if failure != nil {
		return err // the tenant may be what was not found
	}
	if near := terminal.Nearest(ref, names); len(near) > 0 {
		return fmt.Errorf("%w; did you mean %s?", err, strings.Join(near, " or "))
	}
	return fmt.Errorf("%w; `ciao list %s` shows what there is", err, n.plural)
}
