// Package scheduler is the hub of a cluster and finds nodes for instances.
//
// How it works: it owns the SSNTP server through which all daemons speak, and a placement.Cluster fed by what the nodes send:
// inventories, states of instances, and their status. A controller sends Place, with any number of requests; the scheduler answers
// with Placed and, for each request that no node can take, PlacementFailure. It starts nothing: the controller records the
// node and then sends Start to it, which the hub only forwards. So at most one node ever gets a given generation of an instance, also
// when the scheduler or the controller dies between any two steps (docs/adr/0002).
//
// What is guaranteed: nothing is kept on disk, and nothing is lost: after a restart every node sends its inventory again, and gets
// nothing before the scheduler has all of it. Controllers learn of every node that comes and goes, and one that connects later
// learns of those that are there.
package scheduler
