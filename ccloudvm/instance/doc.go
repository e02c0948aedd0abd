// Package instance makes development VMs and keeps them: create, start, stop, quit, delete, list.
//
// There is no daemon. Each running instance has one supervisor, a process of its own that outlives the command which started it: it
// starts QEMU, owns its first QMP monitor, drains the guest's progress channel and records how the guest ended. Everything an
// instance is lies in its directory (see layout.go for the names), so any process can answer for it, at once, whatever died:
//
//   - the supervisor holds a lock (flock) for as long as it lives; QEMU is known by pid and start time;
//   - a command that changes an instance holds the instance's own lock, and another one is told so instead of waiting;
//   - the state is never stored: it is derived from the record, the supervisor's notes, the locks and the processes (derive).
//
// Guaranteed: a create that fails or is interrupted leaves nothing unless it is told to keep the wreck; one that is killed leaves an
// instance that can be listed and deleted; delete leaves nothing; every wait has a deadline and its error says what was last seen.
package instance
