// Package vm runs virtual machines by QEMU.
//
// How it works: all that a machine has is in one directory: an overlay (qcow2) on its image, of which it keeps a hard link, a NoCloud seed, its
// UEFI variables, and the notes of the shim under which QEMU runs. QEMU is a user of its own that owns nothing, confined by its own seccomp
// filter: the driver opens the machine's files, its tap and its sockets, and hands over the descriptors. Whether a machine runs and how it
// ended is known from the shim's notes alone, so that a QEMU that is frozen holds up nobody but who wants something of it.
//
// What is guaranteed: at most one QEMU runs for a machine, whatever the instruction at which the launcher was killed, and it outlives the
// launcher. A guest that shuts down, one whose kernel panics (where it drives the pvpanic device), and a QEMU that was killed are told
// apart, also by a launcher that was not there. Stop presses the power button, and cuts the power after the grace time. What the guest
// prints on its serial console is kept within bounds.
package vm
