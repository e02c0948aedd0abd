package vm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/ciaocloud/ciao/ccloudvm/image"
	"github.com/ciaocloud/ciao/ccloudvm/qemu"
	"github.com/ciaocloud/ciao/ccloudvm/seed"
	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
)

// Create implements driver.Driver: it makes the machine's disk and seed.
func (d *Driver) Create(ctx context.Context, instance driver.Instance, progress func(step, message string)) error {
	if progress == nil {
		progress = func(string, string) {}
	}
	err := d.create(ctx, instance, progress)
	if err != nil {
		return classed(fmt.Errorf("create virtual machine %s: %w", instance.Name, err))
	}
	return nil
}

func (d *Driver) create(ctx context.Context, instance driver.Instance, progress func(step, message string)) error {
	if !cluster.ValidID(instance.ID) {
		return fmt.Errorf("%w: %q is not the id of an instance", cluster.ErrInvalid, instance.ID)
	}
	if instance.Spec.Privileged {
		return fmt.Errorf("%w: a virtual machine is never privileged", cluster.ErrPermission)
	}
	c := d.carrier(instance.ID)
	before, err := c.describe()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	switch {
	case before.Generation == instance.Generation:
		return nil
	case before.Generation > instance.Generation:
		return fmt.Errorf("%w: generation %d of the instance is here already, this is %d", cluster.ErrConflict, before.Generation, instance.Generation)
	}
	if err := os.MkdirAll(c.directory, 0o700); err != nil {
		return err
	}
	if before.Generation > 0 { // a machine of an older generation
		if err := c.shim().End(ctx, 0, d.scaled(killWait)); err != nil {
			return err
		}
		if err := c.shim().Forget(); err != nil {
			return err
		}
	}
	described := description{
		Generation: instance.Generation, Tenant: instance.Tenant, Name: instance.Name, VCPUs: instance.Spec.Requirements.VCPUs,
		MemoryMiB: instance.Spec.Requirements.MemoryMiB, Pids: instance.Spec.Requirements.Pids, Firmware: instance.Spec.Firmware, Base: before.Base,
		Port: instance.Network.Port, MAC: instance.Network.MAC, Volumes: instance.Volumes,
	}
	if err := reachable(instance.Volumes); err != nil {
		return err
	}
	switch {
	case instance.Spec.BootsFromVolume() && len(instance.Volumes) == 0:
		return fmt.Errorf("%w: it has neither an image nor a volume to boot from", cluster.ErrInvalid)
	case before.Generation == 0 && !instance.Spec.BootsFromVolume():
		if err := makeDisk(ctx, c, instance, &described, progress); err != nil {
			return err
		}
	}
	if err := makeVariables(c, instance.Spec.Firmware); err != nil {
		return err
	}
	if err := seed.Write(c.file(seedFile), seedOf(instance)); errors.As(err, new(*fs.PathError)) || errors.As(err, new(*os.LinkError)) {
		return err // of writing it
	} else if err != nil {
		return fmt.Errorf("%w: %w", cluster.ErrInvalid, err)
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	defer d.watchers.Changed(c.id)
	return c.write(described, false)
}

// makeDisk makes the machine's disk; one that an interrupted create left is made anew.
func makeDisk(ctx context.Context, c carrier, instance driver.Instance, described *description, progress func(step, message string)) error {
	if instance.Image == nil {
		return fmt.Errorf("%w: there is no image %s; upload it with `ciao create image`", cluster.ErrNotFound, instance.Spec.Image)
	}
	progress("disk", "")
	described.Base = string(instance.Image.Format)
	for _, name := range []string{baseFile, diskFile} {
		if err := os.Remove(c.file(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if os.Link(instance.Image.Path, c.file(baseFile)) != nil { // another file system
		if err := os.Symlink(instance.Image.Path, c.file(baseFile)); err != nil {
			return err
		}
	}
	base := image.Image{Disk: c.file(baseFile), Format: described.Base}
	if err := image.Overlay(ctx, base, c.file(diskFile), instance.Spec.Requirements.DiskMiB<<20); err != nil {
		return fmt.Errorf("image %s: %w", instance.Spec.Image, usable(ctx, err))
	}
	return nil
}

// usable gives what is wrong with an image its class.
func usable(ctx context.Context, err error) error {
	switch {
	case context.Cause(ctx) != nil, errors.Is(err, image.ErrTools):
		return err
	case strings.Contains(err.Error(), "No space left on device"): // in qemu-img's words
		return fmt.Errorf("%w: %w", syscall.ENOSPC, err)
	case strings.Contains(err.Error(), "Failed to get"): // a lock, that the qemu-img of a killed launcher has for a moment more
		return fmt.Errorf("%w: %w", cluster.ErrUnavailable, err)
	}
	return fmt.Errorf("%w: %w", cluster.ErrInvalid, err)
}

// makeVariables gives a machine that starts by UEFI its variables, once.
func makeVariables(c carrier, firmware cluster.Firmware) error {
	if firmware != cluster.UEFI || c.has(varsFile) {
		return nil
	}
	parts, err := findUEFI()
	if err != nil {
		return err
	}
	template, err := os.ReadFile(parts.Vars)
	if err == nil {
		err = os.WriteFile(c.file(varsFile+".new"), template, 0o600)
	}
	if err == nil {
		err = os.Rename(c.file(varsFile+".new"), c.file(varsFile))
	}
	return err
}

// findUEFI looks where distributions keep the firmware OVMF.
func findUEFI() (qemu.UEFI, error) {
	for _, parts := range []qemu.UEFI{
		{Code: "/usr/share/OVMF/OVMF_CODE_4M.fd", Vars: "/usr/share/OVMF/OVMF_VARS_4M.fd"},
		{Code: "/usr/share/OVMF/OVMF_CODE.fd", Vars: "/usr/share/OVMF/OVMF_VARS.fd"},
		{Code: "/usr/share/edk2/x64/OVMF_CODE.4m.fd", Vars: "/usr/share/edk2/x64/OVMF_VARS.4m.fd"},
	} {
		if _, err := os.Stat(parts.Code); err == nil {
			return parts, nil
		}
	}
	return qemu.UEFI{}, fmt.Errorf("%w: this node has no UEFI firmware; install the package ovmf there, or use firmware bios", cluster.ErrConflict)
}

func seedOf(instance driver.Instance) seed.Seed {
	return seed.Seed{
		InstanceID: instance.ID, Hostname: instance.Name, PublicKeys: instance.Spec.SSHKeys,
		UserData: userData(instance.Spec.CloudInit), NetworkConfig: seed.DHCP("eth0", instance.Network.MAC),
	}
}

func userData(text string) []byte {
	if text == "" {
		return nil
	}
	return []byte(text)
}
