// Package controller holds the use cases of a cluster (tenants, quotas, workloads, instances, nodes, CNCIs, events) and the
// reconciler that drives every instance from its recorded to its desired state.
//
// # How it works
//
// A use case writes intent into the store in one transaction, with its reservations of quota, names and addresses, and returns.
// It works on any controller, leading or not. A create of many instances is one cluster.Batch; the reconciler unfolds it in
// transactions within the store's limits, and whoever lists instances sees all of them from the first moment.
//
// [Controller.Run] is the leading controller. One goroutine owns what it remembers beside the store: which command was sent when,
// which CNCI has applied what. It is woken by the store's watch, by frames and by deadlines, puts the reports that arrived
// together into one transaction, asks the pure function decide what each touched instance needs next, and does that:
//
//	Place → scheduler → Placed → node and explanation recorded → Start → node → InstanceState → recorded
//
// Logs and commands are streams (package stream) beside all this: OpenLogs and OpenExec tell the instance's node to join, which it does
// by JoinStream within a deadline. They work on any controller, and end with it.
//
// # What is guaranteed
//
//   - A create of N instances happens whole or not at all; after a refusal nothing remains.
//   - At most one node is ever told to start a given (instance, generation): placement is asked, recorded, then started. A start
//     that was refused for want of room moves on only after the refusing node has confirmed that it holds nothing; an instance
//     that has once been active never moves.
//   - A node is recorded only where it breaks no group: those of one that is together have one node, those of one that is spread have
//     different ones, but for a failed one. What an evacuation finds no other node for goes on running where it is.
//   - An instance that starts elsewhere first and its replacement are never both gone, and never both there for good.
//   - The sum of a tenant's instances (stored or still in a batch) is its usage row, in every committed state. Every transaction
//     that adds or removes an instance of a tenant writes that row, which is how they are put one after the other: the store
//     detects conflicts by key only, so that names, addresses and quotas of a tenant are protected by this row.
//   - An address, a name and a share of the quota are given back in the transaction that removes the instance, and that happens
//     only when no node holds it any more.
//   - No step depends on a message having arrived: every command is repeated until a report shows its effect, and after a restart
//     everything goes on from the store. A command to a node is repeated when the node turns out not to have got it, by its inventory, for which it
//     is asked; while a node is busy, or the way to it is, nothing is sent to it twice. A placement is asked for again as it was: the question
//     what became of it would be as long, and the scheduler answers both alike.
//   - A store that was restored from a backup is behind its nodes. Until [Controller.SettleStore], what only nodes know is stopped and
//     kept, not deleted, and nothing is placed before the nodes have had time to report. That a generation is started on
//     one node only cannot be promised across a restore; a second copy is stopped as soon as its node reports it.
//   - An external IP is mapped to another instance only when the CNCI that had it has let it go, or is gone itself.
//   - Things of another tenant do not exist: they are answered with cluster.ErrNotFound.
package controller
