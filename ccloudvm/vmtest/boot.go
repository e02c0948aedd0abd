// Package vmtest helps tests that need machines: real ones, booted from a locally built image ([Boot]), and a QEMU that is not one
// ([FakeQEMU]), which stays silent, floods, or dies on command.
package vmtest

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/ciaocloud/ciao/ccloudvm/guest"
	"github.com/ciaocloud/ciao/ccloudvm/image"
	"github.com/ciaocloud/ciao/ccloudvm/qemu"
	"github.com/ciaocloud/ciao/ccloudvm/seed"
	"github.com/ciaocloud/ciao/require"
)

// Options change the machine that [Boot] makes.
type Options struct {
	Packages  []string       // in the image
	MemoryMiB int            // default 1024
	Config    map[string]any // cloud-config, added to the users and keys that Boot needs
	Change    func(*qemu.Machine)
}

// Machine is a running guest.
type Machine struct {
	Dir, Runtime string
	Description  qemu.Machine
	Process      qemu.Process
	Access       guest.Access
	Client       *guest.Client

	// What took how long.
	Image, Start, SSH time.Duration
}

// Monitor is the socket that tests may use; Progress is the host's end of the progress channel.
func (m *Machine) Monitor() string  { return filepath.Join(m.Runtime, "qmp") }
func (m *Machine) Progress() string { return filepath.Join(m.Runtime, "progress") }

// Console is the log of the serial console.
func (m *Machine) Console() string { return filepath.Join(m.Dir, "console.log") }

// Boot starts a guest from the Debian 12 image that is built on this machine (or was, by a former run: the image store is
// [image.DefaultDir]) and waits for SSH. The test fails when that takes too long; the guest is gone when the test ends.
func Boot(t *testing.T, o Options) *Machine {
	t.Helper()
	require.Guest(t)
	m := &Machine{Dir: t.TempDir()}
	started := time.Now()
	img := baseImage(t, o.Packages)
	m.Image = time.Since(started)
	m.describe(t, img, o)
	m.start(t)
	return m
}

func baseImage(t *testing.T, packages []string) image.Image {
	t.Helper()
	store, err := image.Open("")
	if err != nil {
		t.Fatal(err)
	}
	img, err := store.Build(t.Context(), image.Recipe{Suite: "bookworm", Packages: packages}, func(p image.Progress) { t.Logf("image: %s", p.Text) })
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func (m *Machine) describe(t *testing.T, img image.Image, o Options) {
	t.Helper()
	var err error
	if m.Runtime, err = qemu.SocketDir(m.Dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(m.Runtime) })
	disk, iso := filepath.Join(m.Dir, "disk.qcow2"), filepath.Join(m.Dir, "seed.iso")
	if err := image.Overlay(t.Context(), img, disk, 10<<30); err != nil {
		t.Fatal(err)
	}
	m.Access = access(t, o.Config, iso)
	accelerator, err := qemu.Prober{CacheDir: filepath.Join(os.TempDir(), "ccloudvm-vmtest")}.Choose(t.Context(), "auto")
	if err != nil {
		t.Fatal(err)
	}
	m.Description = qemu.Machine{
		Name: "vmtest", Accelerator: accelerator, VCPUs: 2, MemoryMiB: max(o.MemoryMiB, 1024),
		Boot:  qemu.Boot{Kernel: img.Kernel, Initrd: img.Initrd, Append: img.Append},
		Disks: []qemu.Disk{{Path: disk, Volatile: true}}, Seed: iso,
		NICs: []qemu.NIC{{User: &qemu.UserNet{Hostname: "vmtest",
			Forwards: []qemu.Forward{{Host: m.Access.Address, Guest: 22}}}}},
		Channels:   []qemu.Channel{{Name: guest.ProgressPort, Socket: m.Progress()}},
		Console:    qemu.Console{Log: m.Console()},
		Monitors:   []string{filepath.Join(m.Runtime, "start"), m.Monitor()},
		NoShutdown: true,
	}
	if o.Change != nil {
		o.Change(&m.Description)
	}
}

func (m *Machine) start(t *testing.T) {
	t.Helper()
	started := time.Now()
	var err error
	if m.Process, err = qemu.Start(t.Context(), qemu.Launch{Machine: m.Description, Dir: m.Dir}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if _, err := m.Process.Stop(ctx, m.Monitor(), qemu.Limits{Quit: 10 * time.Second}); err != nil {
			t.Errorf("stopping the machine: %v", err)
		}
	})
	m.Start = time.Since(started)
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	broken, stop := context.WithCancelCause(ctx)
	go func() {
		if err := guest.WatchConsole(ctx, m.Console()); err != nil {
			stop(err)
		}
	}()
	if m.Client, err = guest.Wait(broken, m.Access); err != nil {
		console, _ := os.ReadFile(m.Console())
		t.Fatalf("%v\n%s", err, console[max(0, len(console)-4096):])
	}
	t.Cleanup(func() { m.Client.Close() })
	m.SSH = time.Since(started)
	t.Logf("image %v, QEMU %v, SSH %v", m.Image.Round(time.Millisecond), m.Start.Round(time.Millisecond), m.SSH.Round(time.Millisecond))
}

// access makes keys for both sides and writes the seed with them.
func access(t *testing.T, config map[string]any, iso string) guest.Access {
	t.Helper()
	user, err := guest.GenerateKey("vmtest")
	if err != nil {
		t.Fatal(err)
	}
	host, err := guest.GenerateKey("guest")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]any{
		"ssh_keys": map[string]any{"ed25519_private": host.PrivatePEM, "ed25519_public": host.PublicLine},
		"users": []any{map[string]any{"name": "dev", "shell": "/bin/bash", "sudo": "ALL=(ALL) NOPASSWD:ALL",
			"ssh_authorized_keys": []any{user.PublicLine}}},
	}
	for k, v := range config {
		all[k] = v
	}
	text, err := yaml.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	if err := seed.Write(iso, seed.Seed{InstanceID: "vmtest-1", Hostname: "vmtest", UserData: append([]byte("#cloud-config\n"), text...)}); err != nil {
		t.Fatal(err)
	}
	return guest.Access{Name: "vmtest", Address: freePort(t), User: "dev", Key: user.Signer, HostKey: host.Signer.PublicKey()}
}
