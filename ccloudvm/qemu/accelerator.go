package qemu

import "fmt"

// Kind names an accelerator.
type Kind string

// The accelerators.
const (
	KVM Kind = "kvm" // hardware virtualisation
	TCG Kind = "tcg" // emulation; everything works, about ten times slower
)

// Accelerator is how a machine's CPU is run. The zero value means TCG.
type Accelerator struct {
	Kind Kind `json:"kind"`

	// CPU is the CPU model; "" means the best one of the kind.
	CPU string `json:"cpu,omitempty"`

	// Reason says in one sentence why this accelerator was chosen, for users to read.
	Reason string `json:"reason,omitempty"`
}

// TimeScale is the factor by which limits meant for hardware virtualisation should be stretched.
func (a Accelerator) TimeScale() int {
	if a.Kind == KVM {
		return 1
	}
	return 10
}

// OverheadMiB is what QEMU may need for translated code, beside the memory of a machine of that size.
func (a Accelerator) OverheadMiB(memoryMiB int) int {
	switch {
	case a.Kind == KVM:
		return 0
	case memoryMiB < 512: // a small machine runs little code
		return 128
	}
	return 1024
}

// options are the values of -accel and -cpu for a machine of that size.
func (a Accelerator) options(memoryMiB int) (accel, cpu string) {
	if a.Kind == KVM {
		accel, cpu = "kvm", "host"
	} else {
		// thread=multi: one host thread per vCPU. tb-size: MiB for translated code; when they are full, all of it is thrown away
		// and translated again, which with 256 happened every few seconds while a Docker Engine worked in the guest.
		// la57=off: a guest with 5-level page tables walks one level more on each emulated miss.
		accel, cpu = fmt.Sprintf("tcg,thread=multi,tb-size=%d", a.OverheadMiB(memoryMiB)), "max,la57=off,erms=off,smap=off,pku=off,mpx=off"
	}
	if a.CPU != "" {
		cpu = a.CPU
	}
	return accel, cpu
}

// kernelArguments are what a Linux kernel that is started directly is told because of the accelerator.
func (a Accelerator) kernelArguments() string {
	if a.Kind == KVM {
		return ""
	}
	// Translated code belongs to a virtual address: with random ones every start of a program is translated anew.
	return "norandmaps"
}
