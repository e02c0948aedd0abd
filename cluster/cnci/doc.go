// Package cnci is the concentrator agent: it keeps one tenant subnet's gateway, DHCP, DNS and NAT as the controller wants them.
//
// The controller sends the whole wanted state with a revision (payload.Configure); the agent keeps the newest, on disk first, and
// makes the network so. It reports what it has applied (payload.ConcentratorState) at every connect, after every state that it is sent
// and whenever its own address changes: a report that got lost is asked for by sending the state again.
//
// What is guaranteed: an older state never undoes a newer one, in whatever order they come; an agent that is started again, after a
// crash at any instruction, first makes what it knew last and does not need the controller for it; what fails is reported with
// its reason and tried again; what is changed behind its back is put right. The subnet is served while the agent is away.
package cnci
