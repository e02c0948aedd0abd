package bench

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
)

// BenchmarkCNCI times the first instance of a tenant, whose network is made with it: until its CNCI serves from an address on the underlay, and until
// the instance runs, as a watcher sees them. Then an external IP: from the request to attach it until the first of a hundred pings a second is answered
// on this machine. A tenth of a second of that asks whether somebody has the address.
func BenchmarkCNCI(b *testing.B) {
	m := newMachine(b)
	m.singlevm("setup")
	ctx := b.Context()
	operator := m.operator()
	if _, err := operator.CreateWorkload(ctx, recipe); err != nil {
		b.Fatal(err)
	}
	first(ctx, b, operator, 0, nil) // a launcher's first start is not like the others
	var took medians
	round := 0
	for b.Loop() {
		round++
		first(ctx, b, operator, round, &took)
	}
	took.report(b)
}

// first has a new tenant start its first instance and attach an external IP, and removes all of it.
func first(ctx context.Context, b *testing.B, operator *client.Client, round int, took *medians) {
	b.Helper()
	tenant, err := operator.CreateTenant(ctx, api.CreateTenant{Name: fmt.Sprint("bench-", round)})
	if err != nil {
		b.Fatal(err)
	}
	c := operator.ForTenant(tenant.ID)
	begun := time.Now()
	made, err := c.CreateInstances(ctx, api.CreateInstances{Workload: recipe.Name, Name: "first"})
	if err != nil {
		b.Fatal(err)
	}
	serving, running, err := served(ctx, c)
	if err != nil {
		b.Fatal(err)
	}
	address, answered, err := attachedAndAnswered(ctx, c, made[0].ID)
	if err == nil {
		_, err = c.DetachExternalIP(ctx, address)
	}
	if err == nil {
		_, err = c.AwaitExternalIP(ctx, address, cluster.ExternalReserved)
	}
	err = errors.Join(err, c.DeleteExternalIP(ctx, address))
	starter{b, c, recipe.Name}.remove(ctx, made)
	if err = errors.Join(err, operator.DeleteTenant(ctx, tenant.ID)); err != nil {
		b.Fatal(err)
	}
	if took != nil {
		took.add("cnci-serves-s", serving.Sub(begun).Seconds())
		took.add("instance-active-s", running.Sub(begun).Seconds())
		took.add("external-ip-ping-s", answered.Seconds())
	}
}

// served is when the tenant's CNCI had an address and its instance was active.
func served(ctx context.Context, c *client.Client) (serving, running time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	look := func() error {
		cncis, err := c.CNCIs(ctx)
		if err == nil && serving.IsZero() && len(cncis) == 1 && cncis[0].State == cluster.Active && cncis[0].Underlay != "" {
			serving = time.Now()
		}
		return err
	}
	for change, err := range c.Watch(ctx, api.ChangeInstance, api.ChangeCNCI) {
		if err == nil {
			err = look() // what was before the watch is not told
		}
		if err != nil {
			return serving, running, err
		}
		if change.Instance != nil && change.Instance.State == cluster.Active {
			running = time.Now()
		}
		if !serving.IsZero() && !running.IsZero() {
			return serving, running, nil
		}
	}
	return serving, running, context.Cause(ctx)
}

// attachedAndAnswered attaches an external IP to an instance, and says how long it took until a ping was answered.
func attachedAndAnswered(ctx context.Context, c *client.Client, instance string) (address string, took time.Duration, err error) {
	lent, err := c.CreateExternalIP(ctx, api.CreateExternalIP{})
	if err != nil {
		return "", 0, err
	}
	address = lent.Address.String()
	ping := exec.CommandContext(ctx, "ping", "-n", "-q", "-i", "0.01", "-c", "1", "-w", "20", address) // with -w it goes on until one is answered
	begun := time.Now()
	if _, err := c.AttachExternalIP(ctx, address, instance); err != nil {
		return address, 0, err
	}
	if said, err := ping.CombinedOutput(); err != nil {
		return address, 0, fmt.Errorf("ping %s: %w: %s", address, err, said)
	}
	return address, time.Since(begun), nil
}
