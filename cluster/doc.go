// Package cluster is the vocabulary of ciao: the plain values, states and error classes that every other part speaks.
//
// A tenant owns instances, networks and quotas. A workload is the recipe of an instance; an instance is one copy of it, of kind
// vm, container or process, placed on a node. Each tenant's instances share isolated L2 subnets, each served by one concentrator
// (CNCI), which is itself run like an instance, of kind cnci, on a network node.
//
// What is guaranteed: there is no I/O, no lock and no live object here; every value can be compared, stored and sent. Values
// read from the store are shared and must not be modified; copy first. Validation reports every problem at once, each with the
// path of its field.
package cluster
