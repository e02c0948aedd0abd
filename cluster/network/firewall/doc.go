// Package firewall speaks nftables for the network of nodes and concentrators, and keeps the host's own firewall open for the
// routed way out.
//
// Rules are written as nft writes them; Compile turns the part of that language that we use into expressions of the kernel, so that
// what the plan says, what a person reads in `nft list ruleset` and what the kernel does are one text. Each rule carries its name
// as a comment and its text as user data; Tables reads them back, so that a ruleset that someone changed is seen and put right.
//
// What is guaranteed: a change is one transaction, which a packet meets whole or not at all; tables, chains and rules that do not
// carry our name or mark are never touched.
package firewall
