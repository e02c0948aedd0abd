// Package machinetest looks at a whole machine and does to it what a bad day does: it kills processes and the Docker Engine with
// SIGKILL, and compares what is left with what was there before.
//
// A Dump is readable text in sections, with everything in it that a cluster could leave behind. What comes and goes by itself, or
// belongs to a process and not to the machine, is left out; each place that leaves something out says why.
package machinetest
