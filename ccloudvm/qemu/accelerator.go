package qemu

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

// options are the values of -accel and -cpu.
func (a Accelerator) options() (accel, cpu string) {
	if a.Kind == KVM {
		accel, cpu = "kvm", "host"
	} else {
		// thread=multi: one host thread per vCPU. tb-size: the default of 1 GiB translation cache per machine is too much for
		// small hosts. la57=off: a guest with 5-level page tables walks one level more on each emulated miss.
		accel, cpu = "tcg,thread=multi,tb-size=256", "max,la57=off"
	}
	if a.CPU != "" {
		cpu = a.CPU
	}
	return accel, cpu
}
