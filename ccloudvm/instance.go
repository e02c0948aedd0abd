package ccloudvm

import (
	"net/netip"
	"time"
)

// State is where an instance is in its life.
type State string

const (
	// StateCreating: the first boot is under way, the workload's provisioning is not finished.
	StateCreating State = "creating"
	// StateRunning: the guest runs and its first boot was completed.
	StateRunning State = "running"
	// StateStopped: the guest was shut down or quit.
	StateStopped State = "stopped"
	// StateFailed: the first boot failed, or QEMU or its supervisor died; Reason says how.
	StateFailed State = "failed"
	// StateUnresponsive: QEMU runs and does not answer.
	StateUnresponsive State = "unresponsive"
)

// Instance is what can be said of an instance without entering it.
type Instance struct {
	Name        string     `json:"name"`
	State       State      `json:"state"`
	Reason      string     `json:"reason,omitempty"` // how it came to be stopped or failed
	Workload    string     `json:"workload"`
	Image       string     `json:"image"`
	Address     netip.Addr `json:"address"`     // the host's address the ports are on
	SSHPort     int        `json:"ssh_port"`    // port of Address that leads to the guest's SSH server
	SSHCommand  string     `json:"ssh"`         // the whole command line
	CPUs        int        `json:"cpus"`        //
	MemMiB      int        `json:"mem_mib"`     //
	DiskGiB     int        `json:"disk_gib"`    //
	Ports       []Port     `json:"ports"`       //
	Mounts      []Share    `json:"mounts"`      //
	Accelerator string     `json:"accelerator"` // kvm or tcg, and why tcg
	QEMUPort    int        `json:"qemuport"`    // 0: none
	Created     time.Time  `json:"created"`     //
	Phases      []Phase    `json:"phases"`      // how long its creation took, in order
	Directory   string     `json:"directory"`   // where everything it owns lies
}

// Share is a mount with the way that was chosen for it.
type Share struct {
	Mount
	Backend Backend `json:"backend"`
	Why     string  `json:"why"` // why this backend
}

// Backend is a way to show a directory of the host to the guest.
type Backend string

const (
	// Backend9P is the 9p file system over virtio: no daemon, no privileges, live in both directions.
	Backend9P Backend = "9p"
	// BackendSync copies the directory into the guest at each start; changes in the guest stay there.
	BackendSync Backend = "sync"
)

// Phase is a named stretch of time.
type Phase struct {
	Name     string        `json:"name"`
	Duration time.Duration `json:"duration"` // nanoseconds
}
