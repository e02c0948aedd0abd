// Package placement decides which node takes an instance. It is pure: no clock, no lock, no I/O; the scheduler feeds it what nodes
// report and asks it for nodes.
//
// How it works: a Cluster holds, for each node, what may be promised of it (its capacity times the overcommit ratios) and what is
// taken of it: the instances that the node reported, and the reservations of decisions that no report has confirmed yet. A request
// goes past the nodes in the order of a Policy; each node must pass every filter. A filter that refuses a node is counted, so that
// a decision, and even more a refusal, explains itself.
//
// What is guaranteed: a node gets an instance only after its complete inventory is known, while it is connected and ready, and only
// if everything that it reported, everything that is reserved on it and the new instance together fit. An instance that is asked for
// twice is counted once; a repeated request for the same generation gets the same answer while its reservation lasts. A
// reservation ends when the node reports the instance, and at its deadline. No node gets two instances of one group: what nodes
// report names the group, so that this holds after a restart of the scheduler, too.
//
// A Cluster is not safe for concurrent use.
package placement
