// Package concentrator runs CNCIs: each is a network namespace on a network node with an agent in it, a program of its own that outlives
// the launcher.
//
// How it works: all that a CNCI has is in one directory: its generation, its private key (made here, never sent), its certificate (issued
// by the controller for the key's request, and renewed when half of its lifetime has passed), and what the agent's shim keeps: package
// shim says how the agent outlives the launcher.
//
// What is guaranteed: at most one agent runs for a CNCI, whatever the instruction at which the launcher was killed. An agent that ends
// without being asked to is reported as interrupted, so that the launcher starts it again, with a back-off. Stop ends the agent
// only; Delete also ends every other process of the namespace, such as dnsmasq, and removes the namespace. Output is bounded.
package concentrator
