package launcher_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
)

// fileDriver carries instances as files, which outlive the process as a container outlives the launcher. Its engine can be taken down, and
// it can be slow and unreliable.
type fileDriver struct {
	dir    string
	flaky  float64       // share of calls that find the engine unavailable
	pace   time.Duration // of each call, at most
	broken map[string]error

	mu      sync.Mutex
	down    bool
	full    string // why its disk has no room
	changes []chan string
	calls   map[string]int // by name
	active  int            // creates and starts under way
	most    int
}

func newFileDriver(dir string) *fileDriver {
	return &fileDriver{dir: dir, broken: map[string]error{}, calls: map[string]int{}}
}

// Full implements driver.Housed.
func (d *fileDriver) Full(context.Context) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.full
}

func (d *fileDriver) fills(why string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.full = why
}

func (d *fileDriver) Kind() cluster.Kind { return cluster.KindContainer }

func (d *fileDriver) Create(ctx context.Context, i driver.Instance, progress func(step, message string)) error {
	defer d.busy()()
	if err := d.call(ctx, "create"); err != nil {
		return err
	}
	if err := d.broken[i.Name]; err != nil {
		return err
	}
	if i.Network.Port == "" || !i.Network.Prefix.IsValid() || i.Network.MTU == 0 {
		return fmt.Errorf("%w: created without its network: %+v", cluster.ErrInvalid, i.Network)
	}
	progress("create", "writing")
	before := d.read(i.ID)
	switch {
	case before.Generation > i.Generation:
		return fmt.Errorf("%w: generation %d is there", cluster.ErrConflict, before.Generation)
	case before.Generation == i.Generation && before.Condition != driver.Absent:
		return nil
	}
	if err := d.writeVolumes(i.ID, i.Volumes); err != nil {
		return err
	}
	return d.write(driver.Status{ID: i.ID, Generation: i.Generation, Condition: driver.Created})
}

func (d *fileDriver) Start(ctx context.Context, id string) error {
	defer d.busy()()
	if err := d.call(ctx, "start"); err != nil {
		return err
	}
	status := d.read(id)
	switch status.Condition {
	case driver.Absent:
		return fmt.Errorf("%w: no %s", cluster.ErrNotFound, id)
	case driver.Running:
		return nil
	}
	status.Condition, status.Started, status.Interrupted = driver.Running, time.Now(), false
	return d.write(status)
}

func (d *fileDriver) Stop(ctx context.Context, id string, _ time.Duration) error {
	if err := d.call(ctx, "stop"); err != nil {
		return err
	}
	if d.read(id).Condition != driver.Running {
		return nil
	}
	return d.end(id, 0, false)
}

func (d *fileDriver) Delete(ctx context.Context, id string) error {
	if err := d.call(ctx, "delete"); err != nil {
		return err
	}
	if err := os.Remove(d.path(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.RemoveAll(d.path(id) + volumesSuffix); err != nil {
		return err
	}
	d.tell(id)
	return nil
}

const volumesSuffix = ".volumes"

func (d *fileDriver) Stores(cluster.VolumeContent) bool { return true }

func (d *fileDriver) Attach(ctx context.Context, id string, v driver.Volume) error {
	if err := d.changeable(ctx, id, "attach "+v.Name); err != nil {
		return err
	}
	rest := slices.DeleteFunc(d.volumes(id), func(has driver.Volume) bool { return has.ID == v.ID })
	return d.writeVolumes(id, append(rest, v))
}

func (d *fileDriver) Attached(_ context.Context, id, volume string) (bool, error) {
	return slices.ContainsFunc(d.volumes(id), func(has driver.Volume) bool { return has.ID == volume }), nil
}

func (d *fileDriver) Detach(ctx context.Context, id, volume string) error {
	all := d.volumes(id)
	at := slices.IndexFunc(all, func(has driver.Volume) bool { return has.ID == volume })
	name := ""
	if at >= 0 {
		name = all[at].Name
	}
	if err := d.changeable(ctx, id, "detach "+name); err != nil || at < 0 {
		return err
	}
	return d.writeVolumes(id, slices.Delete(all, at, at+1))
}

func (d *fileDriver) changeable(ctx context.Context, id, what string) error {
	if err := d.call(ctx, what); err != nil {
		return err
	}
	if d.read(id).Condition != driver.Running {
		return fmt.Errorf("%w: it does not run", cluster.ErrUnavailable)
	}
	return d.broken[what]
}

// volumes are those that an instance has.
func (d *fileDriver) volumes(id string) (all []driver.Volume) {
	if data, err := os.ReadFile(d.path(id) + volumesSuffix); err == nil {
		if err := json.Unmarshal(data, &all); err != nil {
			panic(err)
		}
	}
	return all
}

func (d *fileDriver) writeVolumes(id string, all []driver.Volume) error {
	data, err := json.Marshal(all)
	if err == nil {
		err = os.WriteFile(d.path(id)+".new", data, 0o600)
	}
	if err == nil {
		err = os.Rename(d.path(id)+".new", d.path(id)+volumesSuffix) // whole or not at all
	}
	return err
}

func (d *fileDriver) Status(ctx context.Context, id string) (driver.Status, error) {
	return d.read(id), d.call(ctx, "status")
}

func (d *fileDriver) List(ctx context.Context) ([]driver.Status, error) {
	if err := d.call(ctx, "list"); err != nil {
		return nil, err
	}
	return d.all(), nil
}

func (d *fileDriver) Watch(ctx context.Context) <-chan string {
	in, out := make(chan string, 1024), make(chan string)
	d.mu.Lock()
	d.changes = append(d.changes, in)
	d.mu.Unlock()
	go func() {
		defer close(out)
		for {
			select {
			case id := <-in:
				select {
				case out <- id:
				case <-ctx.Done():
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// end is what happens to an instance that ends.
func (d *fileDriver) end(id string, code int, interrupted bool) error {
	status := d.read(id)
	status.Condition, status.ExitCode, status.Interrupted = driver.Ended, &code, interrupted
	status.Finished = time.Now()
	return d.write(status)
}

func (d *fileDriver) path(id string) string { return filepath.Join(d.dir, id) }

func (d *fileDriver) all() []driver.Status {
	entries, _ := os.ReadDir(d.dir)
	var all []driver.Status
	for _, entry := range entries {
		if filepath.Ext(entry.Name()) == "" {
			if status := d.read(entry.Name()); status.Condition != driver.Absent {
				all = append(all, status)
			}
		}
	}
	return all
}

func (d *fileDriver) read(id string) driver.Status {
	status := driver.Status{ID: id, Condition: driver.Absent}
	if data, err := os.ReadFile(d.path(id)); err == nil {
		if err := json.Unmarshal(data, &status); err != nil {
			panic(err)
		}
	}
	return status
}

func (d *fileDriver) write(status driver.Status) error {
	data, err := json.Marshal(status)
	if err != nil {
		return err
	}
	temporary := fmt.Sprintf("%s.%d", d.path(status.ID), rand.Int64())
	if err := os.WriteFile(temporary, data, 0o600); err != nil {
		return err
	}
	defer d.tell(status.ID)
	return os.Rename(temporary, d.path(status.ID))
}

func (d *fileDriver) tell(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, changes := range d.changes {
		changes <- id
	}
}

func (d *fileDriver) setDown(down bool) {
	d.mu.Lock()
	d.down = down
	d.mu.Unlock()
	if !down {
		d.tell("")
	}
}

func (d *fileDriver) call(ctx context.Context, name string) error {
	d.mu.Lock()
	d.calls[name]++
	down := d.down
	d.mu.Unlock()
	if d.pace > 0 {
		select {
		case <-time.After(rand.N(d.pace)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if down || rand.Float64() < d.flaky {
		return fmt.Errorf("%w: the engine does not answer", cluster.ErrUnavailable)
	}
	return ctx.Err()
}

func (d *fileDriver) busy() (done func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.active++
	d.most = max(d.most, d.active)
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.active--
	}
}

func (d *fileDriver) called(name string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.calls[name]
}

var (
	_ driver.Driver   = (*fileDriver)(nil)
	_ driver.Attacher = (*fileDriver)(nil)
)
