package qemu

import (
	"context"
	"fmt"

	"github.com/digitalocean/go-qemu/qmp/raw"
)

// Status is the run state of a machine as QEMU sees it.
type Status string

// The run states worth telling apart; QEMU has more.
const (
	Running  Status = "running"
	Paused   Status = "paused"
	Off      Status = "shutdown" // the guest has powered off and QEMU waits to be ended
	Panicked Status = "guest-panicked"
	IOError  Status = "io-error" // paused after a disk error
	PreStart Status = "prelaunch"
)

// Status asks for the run state.
func (m *Monitor) Status(ctx context.Context) (Status, error) {
	// Asked for as text: go-qemu's enumeration ends with the states of QEMU 2.11.
	var s struct{ Status Status }
	if err := m.Execute(ctx, "query-status", nil, &s); err != nil {
		return "", err
	}
	return s.Status, nil
}

// Powerdown presses the power button. A guest that listens shuts down in its own time.
func (m *Monitor) Powerdown(ctx context.Context) error { return m.Raw(ctx).SystemPowerdown() }

// Quit ends QEMU at once, as if the power were cut, with the disks' data that the guest had flushed.
func (m *Monitor) Quit(ctx context.Context) error { return m.Raw(ctx).Quit() }

// Pause stops the virtual CPUs.
func (m *Monitor) Pause(ctx context.Context) error { return m.Raw(ctx).Stop() }

// Continue lets the virtual CPUs run again.
func (m *Monitor) Continue(ctx context.Context) error { return m.Raw(ctx).Cont() }

// Reset restarts the guest without asking it.
func (m *Monitor) Reset(ctx context.Context) error { return m.Raw(ctx).SystemReset() }

// EjectSeed takes the seed disc out of the machine, so that nobody in the guest can read it any more.
func (m *Monitor) EjectSeed(ctx context.Context) error {
	id, force := "cd0", true
	args := struct {
		ID    string `json:"id"`
		Force bool   `json:"force"`
	}{id, force}
	return m.Execute(ctx, "eject", args, nil)
}

// QEMUVersion asks which QEMU runs the machine, such as "7.2.22".
func (m *Monitor) QEMUVersion(ctx context.Context) (string, error) {
	v, err := m.Raw(ctx).QueryVersion()
	if err != nil {
		return "", err
	}
	return version(v), nil
}

func version(v raw.VersionInfo) string {
	return fmt.Sprintf("%d.%d.%d", v.Qemu.Major, v.Qemu.Minor, v.Qemu.Micro)
}
