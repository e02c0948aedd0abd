// Package ccloudvm is the vocabulary of the development VM tool: what a workload asks for (Spec, VM, Mount, Drive, Port), what an
// instance is (Instance, State) and the classes that its errors belong to.
//
// It holds plain values only: no I/O, no locks, no live objects. The packages below it do the work:
//
//	workload   finds, parses, inherits, merges, checks and renders workload files
//	instance   creates, starts, stops and deletes instances, and knows what lies on disk
//	cli        the ccloudvm command
//	qemu seed image guest   the toolkit: arguments and supervision of QEMU, seed ISO, base images, the way into the guest
package ccloudvm
