package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ciaocloud/ciao/ccloudvm/image"
	"github.com/ciaocloud/ciao/ccloudvm/qemu"
	"github.com/ciaocloud/ciao/ccloudvm/seed"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
)

// BenchmarkVM1 times one machine of the image tiny, from the request until its QEMU runs the guest and until its SSH server has greeted, which
// is reached from outside its network. Beside it runs the bare QEMU with the same image, size and accelerator, and a network of its own. The
// tenant's CNCI is up, the image is on the node.
func BenchmarkVM1(b *testing.B) { benchmarkVM(b, 1) }

// BenchmarkVM4 is four at once.
func BenchmarkVM4(b *testing.B) { benchmarkVM(b, 4) }

func benchmarkVM(b *testing.B, count int) {
	m := newMachine(b)
	m.singlevm("setup")
	ctx := b.Context()
	ours := starter{b, m.tenant(ctx, m.operator(), "busybox"), "tiny"}
	bare := newBareVM(b)
	ours.greeted(ctx, 1, nil) // brings the image to the node, and chooses the accelerator
	var took medians
	for b.Loop() {
		ours.greeted(ctx, count, &took)
		spawned, banner := bare.greeted(ctx, count)
		took.add("bare-spawned-s", spawned.Seconds())
		took.add("bare-banner-s", banner.Seconds())
	}
	took.add("above-bare-s", took.of("banner-s")-took.of("bare-banner-s"))
	took.report(b)
}

// greeted starts machines, waits until the last of them greets, and deletes them.
func (s starter) greeted(ctx context.Context, count int, took *medians) {
	s.Helper()
	begun := time.Now()
	made, err := s.tenant.CreateInstances(ctx, api.CreateInstances{Workload: s.workload, Count: count, Name: "bench"})
	if err == nil {
		made, err = s.tenant.Wait(ctx, made, client.Active, nil)
	}
	active := time.Since(begun)
	if err != nil {
		s.Fatal(err)
	}
	defer s.remove(ctx, made)
	var all errgroup.Group
	for _, instance := range made {
		if instance.SSH == nil {
			s.Fatalf("%s has no address for SSH", instance.Name)
		}
		all.Go(func() error { return greets(ctx, net.JoinHostPort(instance.SSH.Host, fmt.Sprint(instance.SSH.Port))) })
	}
	if err := all.Wait(); err != nil {
		s.Fatal(err)
	}
	if took != nil {
		took.add("active-s", active.Seconds())
		took.add("banner-s", time.Since(begun).Seconds())
	}
}

// greets returns when an SSH server at the address has said what it is.
func greets(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	// A connection that was begun before the guest was there may stay silent: it is given up, later and later.
	for patience := 300 * time.Millisecond; ; patience = min(patience+100*time.Millisecond, 5*time.Second) {
		err := greet(ctx, address, patience)
		if err == nil || ctx.Err() != nil {
			return err
		}
		select {
		case <-time.After(10 * time.Millisecond): // is what this measurement may be wrong by
		case <-ctx.Done():
		}
	}
}

func greet(ctx context.Context, address string, patience time.Duration) error {
	dialer := net.Dialer{Timeout: 200 * time.Millisecond} // until the guest is there, nobody answers at all
	connection, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer connection.Close()
	banner := make([]byte, 4)
	if err := connection.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := io.ReadFull(connection, banner); err != nil || string(banner) != "SSH-" {
		return fmt.Errorf("%s says %q: %w", address, banner, errors.Join(err, os.ErrInvalid))
	}
	return nil
}

// bareVM starts machines without a cluster.
type bareVM struct {
	*testing.B
	tiny        image.Image
	accelerator qemu.Accelerator
}

func newBareVM(b *testing.B) bareVM {
	b.Helper()
	store, err := image.Open("")
	if err != nil {
		b.Fatal(err)
	}
	tiny, err := store.Tiny(b.Context(), nil)
	if err != nil {
		b.Fatal(err)
	}
	// The same trial as the driver's: see there.
	as := []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"}
	accelerator, err := qemu.Prober{As: as}.Choose(b.Context(), "auto")
	if err != nil {
		b.Fatal(err)
	}
	b.Log(accelerator.Reason)
	return bareVM{b, tiny, accelerator}
}

// greeted starts machines at once and says how long it took until the last QEMU answered, and until the last guest greeted.
func (v bareVM) greeted(ctx context.Context, count int) (spawned, banner time.Duration) {
	v.Helper()
	directories := make([]string, count)
	addresses := make([]netip.AddrPort, count)
	for i := range count {
		directories[i], addresses[i] = v.TempDir(), v.free()
	}
	begun := time.Now()
	var all errgroup.Group
	monitors := make([]string, count)
	processes := make([]qemu.Process, count)
	for i := range count {
		all.Go(func() (err error) {
			processes[i], monitors[i], err = v.start(ctx, directories[i], addresses[i])
			return err
		})
	}
	err := all.Wait()
	spawned = time.Since(begun)
	for i := range count {
		all.Go(func() error { return greets(ctx, addresses[i].String()) })
	}
	err = errors.Join(err, all.Wait())
	banner = time.Since(begun)
	for i, process := range processes {
		_, stopped := process.Stop(ctx, monitors[i], qemu.Limits{Quit: 10 * time.Second})
		err = errors.Join(err, stopped, os.RemoveAll(filepath.Dir(monitors[i])))
	}
	if err != nil {
		v.Fatal(err)
	}
	return spawned, banner
}

func (v bareVM) start(ctx context.Context, directory string, address netip.AddrPort) (qemu.Process, string, error) {
	const mac = "02:00:00:00:00:01"
	disk, iso := filepath.Join(directory, "disk.qcow2"), filepath.Join(directory, "seed.iso")
	sockets, err := qemu.SocketDir(directory)
	if err == nil {
		err = image.Overlay(ctx, v.tiny, disk, 0)
	}
	if err == nil {
		err = seed.Write(iso, seed.Seed{InstanceID: "bench", Hostname: "bench", NetworkConfig: seed.DHCP("eth0", mac)})
	}
	if err != nil {
		return qemu.Process{}, "", err
	}
	monitor := filepath.Join(sockets, "qmp")
	process, err := qemu.Start(ctx, qemu.Launch{Dir: directory, Machine: qemu.Machine{
		Name: "bench", Accelerator: v.accelerator, VCPUs: 1, MemoryMiB: 128, Balloon: true, PanicExit: true,
		Disks: []qemu.Disk{{Path: disk}}, Seed: iso, Monitors: []string{monitor},
		NICs: []qemu.NIC{{MAC: mac, User: &qemu.UserNet{Forwards: []qemu.Forward{{Host: address, Guest: 22}}}}},
	}})
	return process, monitor, err
}

// free is an address that nobody listens at.
func (v bareVM) free() netip.AddrPort {
	v.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		v.Fatal(err)
	}
	defer listener.Close()
	return netip.MustParseAddrPort(listener.Addr().String())
}
