package bat

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
)

// Config is what a Cluster is made of.
type Config struct {
	Access
	Ciao     string // the ciao program
	Singlevm string // the singlevm program if it is beside this one, else empty
	Image    string // of a container with busybox's commands; empty is that of the cluster's workload busybox
	Outside  string // host:port beyond the cluster that instances must reach; empty is unknown
}

// Cluster is the cluster that is judged.
type Cluster struct {
	Config
	Operator *client.Client // acts for all tenants
	Run      string         // is in the name of everything that this run makes

	image, pull  string
	machineImage string       // of a virtual machine with busybox's commands and an SSH server; empty is none
	made         atomic.Int64 // counts the tenants of this run
}

// Limits of single steps on an ordinary machine. Each is several times what the step takes on an idle one, since judging a cluster
// must not depend on what else its machine does.
const (
	AnswerTime = 15 * time.Second // one call of the API
	LaunchTime = 60 * time.Second // from the request to active, the tenant's first network included
	StopTime   = 30 * time.Second // the workloads here end at once or are killed after two seconds
	GoneTime   = 60 * time.Second // from the request to delete until nothing is left of twenty instances
	SettleTime = 30 * time.Second // for counts, names and reports to follow: nodes report every six seconds
)

// Prefix begins the names of all tenants and public workloads that tests make.
const Prefix = "bat-"

// Connect finds out whether there is a cluster that can be judged. The error says what is missing.
func Connect(ctx context.Context, config Config) (*Cluster, error) {
	operator, err := client.New(client.Config{Controller: config.Controller, Certificate: config.Access.Operator, CA: config.CA})
	if err != nil {
		return nil, err
	}
	c := &Cluster{Config: config, Operator: operator, Run: Prefix + randomWord(6)}
	ctx, cancel := context.WithTimeout(ctx, c.Scale(AnswerTime))
	defer cancel()
	workloads, err := operator.Workloads(ctx)
	if err != nil {
		return nil, err
	}
	c.chooseImage(workloads)
	if c.image == "" {
		return nil, fmt.Errorf("%w: the cluster has no public workload busybox, whose image the tests use: name an image with --image", cluster.ErrInvalid)
	}
	return c, nil
}

// tinyWorkload is the public workload whose image tests give to their virtual machines.
const tinyWorkload = "tiny"

func (c *Cluster) chooseImage(workloads []api.Workload) {
	c.image = c.Image
	for _, workload := range workloads {
		switch {
		case workload.Visibility != cluster.Public:
		case workload.Kind == cluster.KindContainer && workload.Name == "busybox" && c.Image == "":
			c.image, c.pull = workload.Image, string(workload.Pull)
		case workload.Kind == cluster.KindVM && workload.Name == tinyWorkload:
			c.machineImage = workload.Image
		}
	}
}

// Close gives the connections back.
func (c *Cluster) Close() { c.Operator.Close() }

// Scale stretches a time limit for a slow machine.
func (c *Cluster) Scale(d time.Duration) time.Duration { return scaled(d, c.TimeScale) }

func randomWord(n int) string {
	const letters = "bcdfghjkmnpqrstvwxz23456789"
	word := make([]byte, n)
	for i := range word {
		word[i] = letters[rand.IntN(len(letters))]
	}
	return string(word)
}

// Sweep removes every tenant, public workload and image of the operator's whose name begins with prefix, with all that they own, and says how many tenants
// there were.
func (c *Cluster) Sweep(ctx context.Context, prefix string) (int, error) {
	tenants, err := c.Operator.Tenants(ctx)
	if err != nil {
		return 0, err
	}
	tenants = slices.DeleteFunc(tenants, func(t api.Tenant) bool { return !strings.HasPrefix(t.Name, prefix) })
	var problems []error
	for _, tenant := range tenants {
		problems = append(problems, c.remove(ctx, tenant.ID))
	}
	workloads, err := c.Operator.Workloads(ctx)
	problems = append(problems, err)
	for _, workload := range workloads {
		if workload.Visibility == cluster.Public && strings.HasPrefix(workload.Name, prefix) {
			problems = append(problems, c.Operator.DeleteWorkload(ctx, workload.ID))
		}
	}
	problems = append(problems, c.removeImages(ctx, prefix))
	return len(tenants), errors.Join(problems...)
}

// remove removes a tenant with everything that it owns, and waits until it is gone.
func (c *Cluster) remove(ctx context.Context, tenant string) error {
	acting := c.Operator.ForTenant(tenant)
	instances, err := acting.Instances(ctx, client.InstanceFilter{})
	if errors.Is(err, cluster.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := acting.DeleteInstances(ctx, client.InstanceFilter{}); err != nil {
		return err
	}
	if _, err := acting.Wait(ctx, instances, client.Deleted, nil); err != nil {
		return err
	}
	if err := errors.Join(acting.DeleteVolumes(ctx), releaseExternalIPs(ctx, acting)); err != nil {
		return err
	}
	if err := c.Operator.DeleteTenant(ctx, tenant); err != nil && !errors.Is(err, cluster.ErrNotFound) {
		return err
	}
	return nil
}

// releaseExternalIPs gives back what a tenant without instances has of the pools.
func releaseExternalIPs(ctx context.Context, acting *client.Client) error {
	held, err := acting.ExternalIPs(ctx)
	for _, e := range held {
		if err == nil {
			_, err = acting.AwaitExternalIP(ctx, e.Address.String(), cluster.ExternalReserved)
		}
		if err == nil {
			err = acting.DeleteExternalIP(ctx, e.Address.String())
		}
	}
	return err
}
