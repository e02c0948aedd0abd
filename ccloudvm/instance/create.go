package instance

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ciaocloud/ciao/ccloudvm"
	"github.com/ciaocloud/ciao/ccloudvm/guest"
	"github.com/ciaocloud/ciao/ccloudvm/image"
	"github.com/ciaocloud/ciao/ccloudvm/qemu"
	"github.com/ciaocloud/ciao/ccloudvm/workload"
)

// CreateRequest is what create is asked for. Zero fields leave it to the workload.
type CreateRequest struct {
	Workload       string // name, path or URL
	Name           string // "": made of the workload's
	Overrides      Overrides
	PackageUpgrade bool
	Accelerator    string       // auto (also ""), kvm or tcg
	ImagePolicy    image.Policy // where the base image may come from
	Keep           bool         // keep the wreck when it fails
	// Inspect sees the rendered cloud-config before anything is booted, with proxy passwords in it; may be nil.
	Inspect func(userData []byte)
}

// Overrides is what the command line says about the machine.
type Overrides struct {
	MemMiB, CPUs, DiskGiB, QEMUPort int
	Mounts                          []ccloudvm.Mount
	Drives                          []ccloudvm.Drive
	Ports                           []ccloudvm.Port
	HostIP                          string
}

// apply changes the machine and notes that the command line said so.
func (o Overrides) apply(vm *ccloudvm.VM, origins map[string]workload.Position) {
	number := func(field, flag string, into *int, value int) {
		if value != 0 {
			*into = value
			origins["vm."+field] = workload.Position{File: "--" + flag}
		}
	}
	number("mem_mib", "mem", &vm.MemMiB, o.MemMiB)
	number("cpus", "cpus", &vm.CPUs, o.CPUs)
	number("disk_gib", "disk", &vm.DiskGiB, o.DiskGiB)
	number("qemuport", "qemuport", &vm.QEMUPort, o.QEMUPort)
	vm.Mounts = workload.MergeMounts(vm.Mounts, o.Mounts)
	vm.Drives = workload.MergeDrives(vm.Drives, o.Drives)
	vm.Ports = workload.MergePorts(vm.Ports, o.Ports)
	if o.HostIP != "" {
		vm.HostIP = o.HostIP
		origins["vm.host_ip"] = workload.Position{File: "--hostip"}
	}
}

// Create makes an instance and returns when its workload is set up. Unless req.Keep is set, a failure or the end of ctx leaves nothing.
func (m *Manager) Create(ctx context.Context, req CreateRequest, report Report) (ccloudvm.Instance, error) {
	c := &creation{Manager: m, request: req, phases: phases{report: report}}
	c.workspace = m.Caller.workspace(ctx)
	c.workspace.PackageUpgrade = req.PackageUpgrade
	if err := c.load(ctx); err != nil {
		return ccloudvm.Instance{}, err
	}
	if err := c.reserve(ctx); err != nil {
		return ccloudvm.Instance{}, err
	}
	defer c.lock.release()
	if err := c.make(ctx); err != nil {
		return ccloudvm.Instance{}, c.undo(endedBy(ctx, err, c.phases.current()))
	}
	return m.Get(ctx, c.record.Name)
}

// creation is one create under way.
type creation struct {
	*Manager
	request   CreateRequest
	workload  *workload.Workload
	workspace workload.Workspace
	record    *Record
	host      guest.Key
	phases    phases
	lock      *lock
}

// load reads the workload and refuses what cannot work here, before anything is made.
func (c *creation) load(ctx context.Context) error {
	w, err := workload.Load(ctx, c.Workloads, c.request.Workload, c.workspace)
	if err != nil {
		return err
	}
	c.request.Overrides.apply(&w.Spec.VM, w.Origins)
	if err := workload.Check(w.Spec, w.Origins); err != nil {
		return err
	}
	c.workload = w
	for _, d := range w.Spec.VM.Drives {
		if _, err := drive(d); err != nil {
			return err
		}
		if _, err := os.Stat(d.Path); err != nil {
			return &ccloudvm.Error{Class: ccloudvm.ErrInvalid, Cause: err, Text: "the drive cannot be attached: " + err.Error()}
		}
	}
	return errors.Join(checkMounts(w.Spec.VM.Mounts), c.checkHost(w.Spec.VM), c.dryRun(), c.checkNested(ctx))
}

// dryRun renders the cloud-config with stand-ins for what is not known yet: a broken one is refused before any work is done.
func (c *creation) dryRun() error {
	ws := c.workspace
	ws.Hostname, ws.PublicKey, ws.UUID, ws.HostIP = "name", "ssh-ed25519 AAAA", newUUID(), "127.0.0.2"
	ws.Packages = c.workload.Spec.Packages
	for _, mount := range c.workload.Spec.VM.Mounts {
		ws.Mounts = append(ws.Mounts, ninePMount(mount))
	}
	_, err := render(c.workload, ws, guest.Key{}, "")
	return err
}

// checkNested refuses a workload that needs virtualisation in the guest where the guest would not get it. Emulation offers it always.
func (c *creation) checkNested(ctx context.Context) error {
	if !c.workload.Spec.NeedsNestedVM {
		return nil
	}
	a, err := c.Prober.Choose(ctx, c.request.Accelerator)
	if err != nil {
		return hostError("the accelerator cannot be chosen", err)
	}
	if a.Kind != qemu.KVM {
		return nil
	}
	for _, module := range []string{"kvm_intel", "kvm_amd"} {
		b, err := os.ReadFile(filepath.Join("/sys/module", module, "parameters/nested"))
		if flag := strings.TrimSpace(string(b)); err == nil && (flag == "Y" || flag == "1") {
			return nil
		}
	}
	return &ccloudvm.Error{Class: ccloudvm.ErrHost,
		Text: "the workload needs nested virtualisation, which is off here: load kvm_intel or kvm_amd with nested=1, or use --accel tcg"}
}

// reserve takes the name, its lock and an address, all at once, so that parallel creates never meet.
func (c *creation) reserve(ctx context.Context) error {
	global, err := await(ctx, filepath.Join(c.Layout.State, allocationLock), "ccloudvm create", lockWait)
	if err != nil {
		return hostError("the state directory is locked", err)
	}
	defer global.release()
	names, err := c.Names()
	if err != nil {
		return err
	}
	name, err := chooseName(c.request.Name, c.request.Workload, names)
	if err != nil {
		return err
	}
	address, err := c.address(names)
	if err != nil {
		return err
	}
	if c.lock, err = c.hold(ctx, name, "create"); err != nil {
		return err
	}
	c.record = &Record{Name: name, Workload: c.request.Workload, Spec: c.workload.Spec, UUID: newUUID(), Address: address,
		User: c.workspace.User, SearchDomains: c.Caller.SearchDomains, Accelerator: c.request.Accelerator, Created: time.Now()}
	if err := os.Mkdir(c.Layout.Dir(name), 0o700); err != nil {
		c.lock.releaseAndRemove()
		return hostError("the instance's directory cannot be made", err)
	}
	if err := c.save(c.record); err != nil {
		return c.undo(err)
	}
	return nil
}

func (c *creation) address(names []string) (netip.Addr, error) {
	vm := c.workload.Spec.VM
	if vm.HostIP != "" {
		addr := netip.MustParseAddr(vm.HostIP) // checked by workload.Check
		return addr, checkAddress(addr, vm.Ports)
	}
	var taken []netip.Addr
	for _, name := range names {
		if r, err := c.Manager.load(name); err == nil {
			taken = append(taken, r.Address)
		}
	}
	return chooseAddress(c.Caller.UID, taken, vm.Ports)
}

// undo removes what was made, on a deadline of its own, or says what was kept.
func (c *creation) undo(cause error) error {
	name := c.record.Name
	if c.request.Keep {
		c.record.Failure = strings.Split(cause.Error(), "\n")[0]
		c.record.Phases = slices.Clone(c.phases.list)
		return errors.Join(fmt.Errorf("%w\nThe instance was kept: see `ccloudvm logs %s`, remove it with `ccloudvm delete %s`", cause, name, name), c.save(c.record))
	}
	ctx, cancel := context.WithTimeout(context.Background(), destroyLimit)
	defer cancel()
	if err := c.destroy(ctx, name, c.lock); err != nil {
		return fmt.Errorf("%w\nWhat was made of %s could not be removed: %w", cause, name, err)
	}
	return cause
}
