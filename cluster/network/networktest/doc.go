// Package networktest is for tests of the network: a kernel in memory that prints itself, the suite that it and the real one must
// pass, and throw-away namespaces that stand for a machine with an underlay, so that no test touches the real one.
package networktest
