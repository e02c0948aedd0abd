// Package qemu runs virtual machines with QEMU, as an ordinary user.
//
// Four parts, usable alone:
//
//   - [Machine] describes a virtual machine; [Machine.Args] turns it into QEMU's arguments. It is a pure function: no file is
//     opened, nothing is probed, the same description always gives the same arguments.
//   - [Prober] finds the accelerator that really works, by running a tiny guest to a defined exit. The presence of /dev/kvm
//     proves nothing; a guest that ran does.
//   - [Start] runs a machine detached from its starter and [Attach] finds it again from any process. A [Process] is known by pid
//     and start time, so that a pid that was given to another program is never signalled. [Process.Stop] goes from the polite
//     to the certain (power button, quit, SIGKILL) and says which one it took.
//   - [Monitor] speaks QMP. Every call ends by its context or the monitor's limit, whatever QEMU does: a frozen QEMU gives
//     [ErrUnresponsive] and holds up nobody else. Events are always drained and never block replies.
//
// The monitor serves the qmp.Monitor interface of github.com/digitalocean/go-qemu, and go-qemu's generated commands run on it
// ([Monitor.Raw]). Only go-qemu's socket reader is not used: it has no time limits, refuses replies over 64 KiB, and stops
// delivering replies while an event waits for a listener.
package qemu
