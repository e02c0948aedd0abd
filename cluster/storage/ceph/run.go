package ceph

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/ciaocloud/ciao/cluster"
)

// errBusy says that somebody has the image open.
var errBusy = fmt.Errorf("%w: somebody has it open", cluster.ErrUnavailable)

const (
	connectSeconds = "15"            // how long a program tries to reach Ceph
	commandLimit   = 2 * time.Minute // of a command that copies nothing: a Ceph that cannot work holds commands up for ever
)

// rbd runs Ceph's program for images.
func (d *Driver) rbd(ctx context.Context, args ...string) ([]byte, error) {
	limited := ctx
	if args[0] != "rm" { // of a large volume it takes its time
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeoutCause(ctx, commandLimit, errUnanswered)
		defer cancel()
	}
	said, err := d.run(limited, "rbd", slices.Concat(d.login(), []string{"--client-mount-timeout=" + connectSeconds}, args), nil)
	if errors.Is(err, errUnanswered) {
		return nil, cmp.Or(d.room(ctx), err)
	}
	return said, err
}

// rados runs Ceph's program for objects.
func (d *Driver) rados(ctx context.Context, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, commandLimit, errUnanswered)
	defer cancel()
	where := []string{"--client-mount-timeout=" + connectSeconds, "--pool", d.config.Pool, "--namespace", d.config.Namespace}
	return d.run(ctx, "rados", slices.Concat(d.login(), where, args), nil)
}

// ceph runs Ceph's program for the cluster.
func (d *Driver) ceph(ctx context.Context, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, commandLimit, errUnanswered)
	defer cancel()
	return d.run(ctx, "ceph", slices.Concat(d.login(), []string{"--connect-timeout", connectSeconds}, args), nil)
}

var errUnanswered = fmt.Errorf("%w: Ceph has not answered for %s; `ceph status` says how it is", cluster.ErrUnavailable, commandLimit)

func (d *Driver) login() []string {
	return []string{"--conf", d.config.Configuration, "--id", d.config.User, "--keyring", d.config.Keyring}
}

// options describe a block device to qemu-img.
type options [][2]string

func (o options) String() string {
	var all []string
	for _, option := range o {
		all = append(all, option[0]+"="+strings.ReplaceAll(option[1], ",", ",,"))
	}
	return strings.Join(all, ",")
}

// options describe an image of this driver; the key is the object "key".
func (d *Driver) options(id string) options {
	o := options{
		{"driver", "raw"}, {"file.driver", "rbd"}, {"file.conf", d.config.Configuration}, {"file.pool", d.config.Pool}, {"file.image", id},
		{"file.user", d.config.User}, {"file.key-secret", "key"},
	}
	if d.config.Namespace != "" {
		o = append(o, [2]string{"file.namespace", d.config.Namespace})
	}
	return o
}

// copy copies a disk into an image that was just made, and is zero.
func (d *Driver) copy(ctx context.Context, source options, id string) error {
	key, err := d.key.File()
	if err != nil {
		return err
	}
	defer key.Close()
	_, err = d.run(ctx, "qemu-img", []string{
		"convert", "-q", "-n", "--target-is-zero", "--object", "secret,id=key,format=base64,file=/proc/self/fd/3",
		"--image-opts", "--target-image-opts", "--", source.String(), d.options(id).String(),
	}, key)
	return err
}

// run runs a program, and gives what it says when it fails a class. The program ends with this process, however that ends (prctl(2),
// PR_SET_PDEATHSIG, which is about the thread that started it): nobody would know of it. file is the program's descriptor 3.
func (d *Driver) run(ctx context.Context, program string, args []string, file *os.File) ([]byte, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	command := exec.CommandContext(ctx, program, args...)
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if file != nil {
		command.ExtraFiles = []*os.File{file}
	}
	command.WaitDelay = time.Second
	command.Env = append(os.Environ(), "LC_ALL=C", "CEPH_ARGS=")
	var said strings.Builder
	command.Stderr = &said
	out, err := command.Output()
	switch {
	case err == nil:
		return out, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.Is(err, exec.ErrNotFound):
		return nil, fmt.Errorf("%w: the node needs the program %s; install it (Debian: ceph-common, qemu-utils)", cluster.ErrInvalid, program)
	}
	return nil, d.classify(program, err, said.String())
}

// classify gives what a program says its class: what is not known to be the volume's or the settings' fault may pass.
func (d *Driver) classify(program string, failed error, said string) error {
	all := said
	said = lastLine(said)
	code := 0
	if exit := new(exec.ExitError); errors.As(failed, &exit) {
		code = exit.ExitCode()
	}
	switch {
	case strings.Contains(all, "opening pool"), strings.Contains(all, "opening default pool"):
		return fmt.Errorf("%w: there is no pool %s in Ceph, or client.%s may not use it; `ceph osd pool ls` lists them", cluster.ErrInvalid, d.config.Pool, d.config.User)
	case strings.Contains(said, "Unknown driver 'rbd'"), strings.Contains(said, "Unknown protocol 'rbd'"):
		return fmt.Errorf("%w: QEMU of this node has no driver for RBD; install it (Debian: qemu-block-extra)", cluster.ErrInvalid)
	case strings.Contains(said, "output file is smaller than input file"):
		return fmt.Errorf("%w: what the volume begins as is larger than it", cluster.ErrInvalid)
	case strings.Contains(said, "No space left on device"), strings.Contains(said, "Disk quota exceeded"):
		return fmt.Errorf("%w: Ceph is full: %s", cluster.ErrNoCapacity, said)
	case program == "rbd" && strings.Contains(said, "connect to the cluster"):
		return fmt.Errorf("%w: Ceph cannot be reached: %s", cluster.ErrUnavailable, said)
	case code == int(syscall.EACCES), code == int(syscall.EPERM) && program == "rbd":
		return fmt.Errorf("%w: Ceph does not let client.%s do that; it needs the capabilities of `profile rbd`: %s", cluster.ErrPermission, d.config.User, said)
	case program == "rbd" && code == int(syscall.ENOENT), program == "rados" && strings.Contains(said, "(2) No such file"):
		return fmt.Errorf("%w: it is not in Ceph", cluster.ErrNotFound)
	case program == "rbd" && code == int(syscall.EBUSY):
		return errBusy
	}
	return fmt.Errorf("%w: %s: %w: %s", cluster.ErrUnavailable, program, failed, said)
}

// lastLine is the last thing that a program said, which with Ceph's is the most general; 300 bytes of it are enough.
func lastLine(said string) string {
	lines := strings.Split(strings.TrimSpace(said), "\n")
	last := lines[len(lines)-1]
	return last[:min(300, len(last))]
}

const fullEvery = 30 * time.Second // a full Ceph holds up who writes, and says nothing

// whileRoom does something that needs room, and ends it when there is none any more.
func (d *Driver) whileRoom(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	defer func() {
		cancel(nil)
		<-watched
	}()
	go func() {
		defer close(watched)
		for tick := time.NewTicker(fullEvery); ; {
			select {
			case <-ctx.Done():
				tick.Stop()
				return
			case <-tick.C:
				if err := d.room(ctx); errors.Is(err, cluster.ErrNoCapacity) {
					cancel(err)
				}
			}
		}
	}()
	return do(ctx)
}

// room says whether Ceph takes new data: cluster.ErrNoCapacity, when the cluster or the pool is full, or the pool's quota is used up.
func (d *Driver) room(ctx context.Context) error {
	said, err := d.ceph(ctx, "osd", "dump", "--format", "json")
	if err != nil {
		return err
	}
	var state struct {
		Flags string `json:"flags"`
		Pools []struct {
			Name  string `json:"pool_name"`
			Flags string `json:"flags_names"`
		} `json:"pools"`
	}
	if err := json.Unmarshal(said, &state); err != nil {
		return fmt.Errorf("%w: `ceph osd dump` says %.100q", cluster.ErrUnavailable, said)
	}
	if isFull(state.Flags) {
		return fmt.Errorf("%w: Ceph is full; `ceph status` says of what", cluster.ErrNoCapacity)
	}
	for _, pool := range state.Pools {
		if pool.Name == d.config.Pool && isFull(pool.Flags) {
			return fmt.Errorf("%w: Ceph's pool %s is full, or its quota is used up", cluster.ErrNoCapacity, pool.Name)
		}
	}
	return nil
}

func isFull(flags string) bool {
	names := strings.Split(flags, ",")
	return slices.Contains(names, "full") || slices.Contains(names, "full_quota")
}
