package instance

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"path/filepath"

	"github.com/ciaocloud/ciao/ccloudvm"
	"github.com/ciaocloud/ciao/ccloudvm/guest"
	"github.com/ciaocloud/ciao/ccloudvm/image"
	"github.com/ciaocloud/ciao/ccloudvm/workload"
)

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
	return c.images(ctx)
}

// images makes the images that the guest's own machines need. Where the packages for them cannot be had the guest makes them itself, or goes
// without.
func (c *creation) images(ctx context.Context) error {
	for _, name := range c.record.Spec.Images {
		made, err := c.Images.Tiny(ctx, func(p image.Progress) { c.phases.say(PhaseNote, "%s: %s", name, describe(p)) })
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err != nil {
			c.phases.say(PhaseNote, "%s: not made here: %v", name, err)
			continue
		}
		vm := &c.record.Spec.VM
		vm.Mounts = workload.MergeMounts(vm.Mounts, []ccloudvm.Mount{{Tag: ccloudvm.ImageTag(name), Path: filepath.Dir(made.Disk), ReadOnly: true}})
	}
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
	if err := image.Overlay(ctx, r.Image, c.Layout.file(r.Name, diskFile), int64(r.Spec.VM.DiskGiB)<<30); err != nil {
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
