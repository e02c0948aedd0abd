package vm

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/ciaocloud/ciao/ccloudvm/qemu"
	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/driver/shim"
)

// carrier is one virtual machine as its files tell it:
//
//	machine.json  what it is; there if and only if it was created
//	base          its image, a hard or symbolic link
//	disk.qcow2    its disk, an overlay on base; neither is there when it boots from a volume
//	seed.iso      its NoCloud seed
//	vars.fd       its UEFI variables
//	qmp, attend, console  sockets of the QEMU that was started last
//
// and what its shim keeps there.
type carrier struct{ id, directory string }

// description is machine.json.
type description struct {
	Generation uint64           `json:"generation"`
	Tenant     string           `json:"tenant"`
	Name       string           `json:"name"`
	VCPUs      cluster.CPU      `json:"vcpus"`
	MemoryMiB  int64            `json:"memory_mib"`
	Pids       int64            `json:"pids"`
	Firmware   cluster.Firmware `json:"firmware"`
	Base       string           `json:"base"` // format of the image; empty when it boots from its first volume
	Port       string           `json:"port,omitempty"`
	MAC        string           `json:"mac,omitempty"`
	Volumes    []driver.Volume  `json:"volumes,omitempty"`
}

// boots says whether the machine boots from a volume, which it cannot do without.
func (d description) boots(volume string) bool {
	return d.Base == "" && len(d.Volumes) > 0 && d.Volumes[0].ID == volume
}

const (
	machineFile = "machine.json"
	baseFile    = "base"
	diskFile    = "disk.qcow2"
	seedFile    = "seed.iso"
	varsFile    = "vars.fd"
	monitorFile = "qmp"
	attendFile  = "attend" // another one, since QEMU talks to one at a time on each
	consoleFile = "console"
)

func (c carrier) file(name string) string { return filepath.Join(c.directory, name) }

func (c carrier) has(name string) bool {
	_, err := os.Stat(c.file(name))
	return err == nil
}

func (c carrier) shim() shim.Shim {
	return shim.Shim{Directory: c.directory, Owner: "instance " + c.id}
}

// describe reads what was created; fs.ErrNotExist is nothing.
func (c carrier) describe() (description, error) {
	var d description
	data, err := os.ReadFile(c.file(machineFile))
	if err != nil {
		return d, err
	}
	if err := json.Unmarshal(data, &d); err != nil {
		return d, fmt.Errorf("read %s: %w", c.file(machineFile), err)
	}
	return d, nil
}

// write keeps the description, whole or not at all; durable also survives a loss of power.
func (c carrier) write(d description, durable bool) error {
	data, err := json.Marshal(d)
	if err == nil {
		err = os.WriteFile(c.file(machineFile+".new"), data, 0o600)
	}
	if err == nil && durable {
		err = syncFile(c.file(machineFile + ".new"))
	}
	if err == nil {
		err = os.Rename(c.file(machineFile+".new"), c.file(machineFile))
	}
	if err == nil && durable {
		err = syncFile(c.directory)
	}
	if err != nil {
		return fmt.Errorf("keep instance %s: %w", c.id, err)
	}
	return nil
}

func syncFile(name string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

// status is the driver's word on it.
func (c carrier) status() (driver.Status, error) {
	status := driver.Status{ID: c.id, Condition: driver.Absent}
	described, err := c.describe()
	if errors.Is(err, fs.ErrNotExist) {
		return status, nil
	}
	if err != nil {
		return status, err
	}
	state, err := c.shim().State()
	if err != nil {
		return status, err
	}
	status.Generation, status.Started = described.Generation, state.Begun
	switch {
	case state.Running:
		status.Condition = driver.Running
	case state.Begun.IsZero():
		status.Condition = driver.Created
	default:
		status.Condition = driver.Ended
		ending(&status, state, c.shim().LastLine())
	}
	return status, nil
}

// ending says how QEMU ended, which tells how the guest did.
func ending(status *driver.Status, state shim.State, last string) {
	status.Finished, status.ExitCode = state.Ended, state.Code
	if status.Finished.IsZero() {
		status.Finished = state.Begun
	}
	switch {
	case state.Code == nil:
		status.Interrupted, status.Reason = !state.Asked, "QEMU and its supervisor were killed, or the machine went down"
	case *state.Code == 0:
		status.Reason = "the guest shut down"
	case *state.Code > 128:
		status.Interrupted, status.Reason = !state.Asked, "QEMU was ended by signal "+signal(*state.Code-128)
	case strings.HasPrefix(last, qemu.Binary+": "):
		status.Reason = "QEMU gave up: " + strings.TrimPrefix(last, qemu.Binary+": ")
	default:
		status.Reason = "the guest's kernel panicked; `ciao logs` shows its last words"
	}
}

func signal(number int) string { return fmt.Sprintf("%d (%s)", number, syscall.Signal(number)) }

// classed gives an error without a class the one that says whether trying again, or another node, may help: what this driver touches is the
// node's own.
func classed(err error) error {
	if err == nil {
		return nil
	}
	for _, class := range []error{
		cluster.ErrInvalid, cluster.ErrNotFound, cluster.ErrConflict, cluster.ErrPermission, cluster.ErrNoCapacity, cluster.ErrUnavailable,
	} {
		if errors.Is(err, class) {
			return err
		}
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: the node's disk is full: %w", cluster.ErrNoCapacity, err)
	}
	return fmt.Errorf("%w: %w", cluster.ErrUnavailable, err)
}
