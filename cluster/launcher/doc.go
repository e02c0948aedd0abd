// Package launcher is the agent of a node: it makes what the node runs what the controller wants.
//
// How it works: every instance has one owner, a goroutine with a mailbox in which the newest wanted state wins. The owner feeds
// what happens (commands, ended operations, changes of the carrier, passed back-offs) to a pure state machine (machine.go), which
// answers with at most one next operation: connect, create, start, stop, remove, disconnect, forget. Operations run beside the
// owner, are cancelled when they are not wanted any more, and each has a deadline. Creating and starting is bounded to a
// number at a time; stopping and deleting never waits for it.
//
// On disk an instance is one directory, instances/ID, with instance.json (what is wanted of it), written whole before anything
// is done. After a restart the launcher reads the records, asks each driver what it carries, adopts what runs, starts again what
// was interrupted, finishes deletes, and removes carriers and ports without a record.
//
// Logs and commands pass by the owners: a stream (package stream) is served by the instance's driver beside them, and ends with Run.
//
// What is guaranteed: commands are idempotent per (instance, generation); a late one changes nothing and is answered with the present
// state. Whatever the instruction at which the launcher is killed, its successor converges on the newest recorded wish. The first
// Ready follows a complete Inventory. An engine that is down makes no instance fail: what it carried keeps its last known state until
// the engine is back. A node never holds more than its capacity, times the overcommit ratios, allows.
package launcher
