package singlevm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/chaostest"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/cluster/store/backup"
)

const (
	requestLimit = 5 * time.Second
	userPause    = 800 * time.Millisecond
	maxWishes    = 7
)

// chaosUser makes requests for a tenant, and remembers what it was promised. It has its own instances, told by the stem of their names.
type chaosUser struct {
	*chaos
	tenant, tenantID, stem, workload string
	client                           *client.Client
	random                           *rand.Rand
	wishes                           *chaostest.Wishes
	doubtful                         map[string]bool // instances with a request without an answer, which may be done later yet
	count                            int
	requests                         map[string]int // by kind and outcome
}

// newChaosUser makes its workload, and gives its tenant a quota that it meets.
func newChaosUser(c *chaos, tenant string, number int, seed uint64) *chaosUser {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.Context(), callLimit)
	defer cancel()
	u := &chaosUser{
		chaos: c, tenant: tenant, stem: fmt.Sprintf("u%d", number), client: c.user(operatorName).ForTenant(tenant),
		random: rand.New(rand.NewPCG(seed, uint64(10+number))), wishes: chaostest.NewWishes(), doubtful: make(map[string]bool), requests: make(map[string]int),
	}
	u.workload = "chaos-" + u.stem
	known, err := c.operator.Tenant(ctx, tenant)
	c.check("the tenant", err)
	u.tenantID = known.ID
	_, err = u.client.CreateWorkload(ctx, api.CreateWorkload{
		Name: u.workload, Kind: cluster.KindContainer, Image: busyboxImage, Pull: cluster.PullNever,
		Command:   []string{"sh", "-c", "trap exit TERM; while :; do sleep 3600 & wait; done"},
		StopGrace: "2s", Requirements: api.Requirements{VCPUs: 0.05, MemoryMiB: 16},
	})
	c.check("a workload", err)
	_, err = c.operator.UpdateQuota(ctx, tenant, api.UpdateQuota{Limits: map[string]string{"instances": "10"}})
	c.check("a quota", err)
	return u
}

func (u *chaosUser) owns(i cluster.Instance) bool {
	return i.Tenant == u.tenantID && strings.HasPrefix(i.Name, u.stem+"-")
}

// work makes requests until ctx ends; the one under way then is waited for.
func (u *chaosUser) work(ctx context.Context) {
	for ctx.Err() == nil {
		u.act()
		pause(u.random, userPause)
	}
}

// act makes one request by chance.
func (u *chaosUser) act() {
	switch kind := u.random.IntN(11); {
	case kind < 5 && len(u.wishes.Instances()) < maxWishes:
		u.create()
	case kind < 7:
		u.change("delete", cluster.WantDeleted, (*client.Client).DeleteInstance)
	case kind < 9:
		u.change("stop", cluster.WantStopped, (*client.Client).StopInstance)
	default:
		u.change("start", cluster.WantActive, (*client.Client).StartInstance)
	}
}

func (u *chaosUser) create() {
	u.count++
	stem, count := fmt.Sprintf("%s-%d", u.stem, u.count), 1+u.random.IntN(3)
	var created []api.Instance
	switch u.ask(u.requests, "create", func(ctx context.Context) (err error) {
		created, err = u.client.CreateInstances(ctx, api.CreateInstances{Workload: u.workload, Count: count, Name: stem})
		return err
	}) {
	case chaostest.Done:
		for _, i := range created {
			u.wishes.Created(u.tenantID, i.ID)
		}
	case chaostest.Unknown:
		u.wishes.Doubt(u.tenantID, stem, count)
	}
}

// change wants something of an instance. One in doubt is left alone: what was asked of a frozen controller it may yet do.
func (u *chaosUser) change(what string, wanted cluster.Desired, request func(*client.Client, context.Context, string) (api.Instance, error)) {
	ids := slices.DeleteFunc(u.wishes.Instances(), func(id string) bool { return u.doubtful[id] })
	if len(ids) == 0 {
		return
	}
	id := ids[u.random.IntN(len(ids))]
	outcome := u.ask(u.requests, what, func(ctx context.Context) error { _, err := request(u.client, ctx, id); return err })
	u.wishes.Changed(id, wanted, outcome)
	u.doubtful[id] = outcome == chaostest.Unknown
}

// certain ends all doubts.
func (u *chaosUser) certain() { clear(u.doubtful) }

// ask makes a request and says what became of it. Only those refusals are expected that the state of things explains. It is not cut
// short by the end of the work: then nobody would know whether it was done.
func (c *chaos) ask(counts map[string]int, what string, request func(context.Context) error) chaostest.Outcome {
	ctx, cancel := context.WithTimeout(c.Context(), requestLimit)
	defer cancel()
	outcome, class := chaostest.OutcomeOf(request(ctx))
	switch outcome {
	case chaostest.Done:
		counts[what]++
	case chaostest.Wrong:
		c.Errorf("%s: %v", what, class)
	default:
		counts[what+" ("+class.Error()+")"]++
	}
	return outcome
}

// counts are those of all requests.
func (c *chaos) counts() map[string]int {
	sum := maps.Clone(c.keeper.requests)
	for _, u := range c.users {
		for what, n := range u.requests {
			sum[what] += n
		}
	}
	return sum
}

// chaosKeeper is the operator: it empties nodes and restores them, and saves the store.
type chaosKeeper struct {
	*chaos
	random    *rand.Rand
	directory string // of backups
	backups   int
	requests  map[string]int
}

func newChaosKeeper(c *chaos, seed uint64) *chaosKeeper {
	return &chaosKeeper{chaos: c, random: rand.New(rand.NewPCG(seed, 2)), directory: c.TempDir(), requests: make(map[string]int)}
}

func (k *chaosKeeper) work(ctx context.Context) {
	for ctx.Err() == nil {
		switch number := 1 + k.random.IntN(chaosNodes); k.random.IntN(4) {
		case 0:
			if number < chaosNodes { // there is always one to go to
				k.onNode("evacuate", number, func(ctx context.Context, id string) error {
					_, err := k.operator.EvacuateNode(ctx, id, false)
					return err
				})
			}
		case 1:
			k.restore(number)
		default:
			k.backup()
		}
		pause(k.random, 2*userPause)
	}
}

func (k *chaosKeeper) onNode(what string, number int, request func(context.Context, string) error) chaostest.Outcome {
	for id, n := range k.nodes {
		if n.number == number {
			return k.ask(k.requests, what, func(ctx context.Context) error { return request(ctx, id) })
		}
	}
	return chaostest.Refused
}

func (k *chaosKeeper) restore(number int) chaostest.Outcome {
	return k.onNode("restore", number, func(ctx context.Context, id string) error { _, err := k.operator.RestoreNode(ctx, id); return err })
}

// restoreNodes restores all nodes.
func (k *chaosKeeper) restoreNodes() {
	k.Helper()
	for number := 1; number <= chaosNodes; number++ {
		k.insist(fmt.Sprintf("restore node %d", number), func(context.Context) error {
			if k.restore(number) != chaostest.Done {
				return cluster.ErrUnavailable
			}
			return nil
		})
	}
}

// backup saves the store with the ciao command: into a whole file whose books agree, or into none.
func (k *chaosKeeper) backup() {
	k.backups++
	file := filepath.Join(k.directory, fmt.Sprintf("%d.backup", k.backups))
	if err := k.ciao("store", "backup", file); err != nil {
		k.requests["backup (failed)"]++
		if _, there := os.Lstat(file); !errors.Is(there, fs.ErrNotExist) {
			k.Errorf("a backup failed (%v) and left %s", err, file)
		}
		return
	}
	k.requests["backup"]++
	if err := k.ciao("store", "check", file); err != nil {
		k.Errorf("check a backup: %v", err)
	}
	if err := checkBooks(file); err != nil {
		k.Errorf("the books in a backup: %v", err)
	}
	if err := os.Remove(file); err != nil {
		k.Error(err)
	}
}

func (k *chaosKeeper) ciao(args ...string) error {
	ctx, cancel := context.WithTimeout(k.Context(), callLimit)
	defer cancel()
	as := layout{DefaultDirectory}.client(operatorName)
	out, err := exec.CommandContext(ctx, k.program("ciao"), append(args, "--controller", as.Controller, "--cert", as.Certificate, "--ca-cert", as.CA)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

func checkBooks(name string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	r, err := backup.NewReader(file)
	if err != nil {
		return err
	}
	l, err := chaostest.ReadLedger(r.Rows())
	if err != nil {
		return err
	}
	return l.Check()
}
