package instance

import (
	"context"
	"errors"
	"fmt"
	"net/http"
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
		return ccloudvm.Instance{}, c.undo(err)
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
		ws.Mounts = append(ws.Mounts, workload.Mount{Mount: mount, Type: "9p", Options: ninePOptions})
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

// make does the work, phase by phase.
func (c *creation) make(ctx context.Context) error {
	c.phases.begin("image")
	if err := c.image(ctx); err != nil {
		return err
	}
	c.phases.begin("disk")
	cache, err := c.prepare(ctx)
	if err != nil {
		return err
	}
	defer cache.close()
	c.phases.begin("boot")
	run, err := c.launch(ctx, c.record.Name)
	if err != nil {
		return err
	}
	c.phases.say(PhaseNote, "%s", run.Accelerator.Reason)
	p := &provisioning{manager: c.Manager, name: c.record.Name, run: run, report: c.phases.pass}
	if err := p.follow(ctx); err != nil {
		return err
	}
	c.phases.begin("checks")
	if err := c.enter(ctx, run); err != nil {
		return err
	}
	c.phases.end()
	c.record.Complete, c.record.Phases = true, c.phases.list
	return c.save(c.record)
}

// image gets the base image.
func (c *creation) image(ctx context.Context) error {
	spec := c.record.Spec
	request := image.Request{Name: spec.BaseImage, Packages: spec.Packages, Policy: c.request.ImagePolicy}
	if spec.BaseImageURL != "" {
		request.Source = image.Source{URL: spec.BaseImageURL, Digest: spec.BaseImageDigest}
	}
	base, err := c.Images.Ensure(ctx, request, func(p image.Progress) { c.phases.say(PhaseNote, "%s", describe(p)) })
	if err != nil {
		return imageError(err)
	}
	c.record.Image = base
	return nil
}

// describe says how far the work on an image is.
func describe(p image.Progress) string {
	text := p.Phase
	if p.Text != "" {
		text += ": " + p.Text
	}
	if p.Total > 0 {
		text += fmt.Sprintf(" %d of %d MiB", p.Done>>20, p.Total>>20)
	} else if p.Done > 0 {
		text += fmt.Sprintf(" %d MiB", p.Done>>20)
	}
	return text
}

func imageError(err error) error {
	class := ccloudvm.ErrHost
	if errors.Is(err, image.ErrUnknown) {
		class = ccloudvm.ErrNotFound
	}
	if errors.Is(err, image.ErrDigest) || errors.Is(err, image.ErrUnsafe) {
		class = ccloudvm.ErrInvalid
	}
	return &ccloudvm.Error{Class: class, Text: "the base image cannot be had: " + err.Error(), Cause: err}
}

// prepare makes everything that QEMU boots, and the download cache that the guest will use.
func (c *creation) prepare(ctx context.Context) (*downloads, error) {
	r := c.record
	if err := image.Overlay(ctx, r.Image, c.Layout.file(r.Name, diskFile), r.Spec.VM.DiskGiB); err != nil {
		return nil, hostError("the disk cannot be made", err)
	}
	if err := c.bios(ctx); err != nil {
		return nil, err
	}
	r.Shares = chooseShares(ctx, r.Spec.VM.Mounts, r.Image, c.Caller.UID == 0)
	if err := c.keys(); err != nil {
		return nil, err
	}
	cache, err := serveDownloads(filepath.Join(c.Layout.Cache, "downloads"), http.DefaultClient)
	if err != nil {
		return nil, err
	}
	if err := c.seed(cache); err != nil {
		cache.close()
		return nil, err
	}
	return cache, nil
}

// keys makes the guest's identity and what OpenSSH needs to know of it.
func (c *creation) keys() error {
	user, err := guest.EnsureKey(c.Layout.KeyFile(), "ccloudvm")
	if err != nil {
		return hostError("the key of your instances cannot be made", err)
	}
	c.workspace.PublicKey = user.PublicLine
	if c.host, err = guest.GenerateKey(c.record.Name); err != nil {
		return err
	}
	c.record.HostKey = c.host.PublicLine
	access, err := c.access(c.record)
	if err != nil {
		return err
	}
	if _, err := access.WriteFiles(c.Layout.Dir(c.record.Name), c.Layout.KeyFile()); err != nil {
		return hostError("the SSH configuration cannot be written", err)
	}
	return c.save(c.record)
}

// seed renders and writes the guest's first instructions.
func (c *creation) seed(cache *downloads) error {
	ws, r := &c.workspace, c.record
	ws.Hostname, ws.UUID = r.Name, r.UUID
	if r.Address.IsLoopback() {
		ws.HostIP = r.Address.String()
	}
	proxy, err := workload.ProxyFromEnvironment(c.Caller.Getenv, r.Name, ws.HostIP)
	if err != nil {
		return err
	}
	ws.HTTPProxy, ws.HTTPSProxy, ws.NoProxy = proxy.HTTP, proxy.HTTPS, proxy.No
	ws.Mounts, ws.Synced = templateMounts(r.Shares)
	ws.Packages = wantsPackages(r.Spec, r.Image.Packages)
	address := cache.listener.Addr()
	ws.HTTPServerPort = int(netip.MustParseAddrPort(address.String()).Port())
	userData, err := render(c.workload, *ws, c.host, helper(address, cache.token))
	if err != nil {
		return err
	}
	if c.request.Inspect != nil {
		c.request.Inspect(userData)
	}
	return writeSeed(c.Layout, r, userData)
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
