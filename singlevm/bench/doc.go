// Package bench measures a whole cluster on this machine, as its users meet it: the programs that `make build` made, the API, a
// watcher. It has benchmarks only; `make bench` runs them (scripts/bench), docs/performance.md has the targets and the figures.
//
// Each benchmark needs the machine for itself (REQUIRE=machine or all), refuses to touch a cluster that is there, and removes its own.
// An iteration is one round of everything that is compared, so that what the machine does meanwhile meets all alike; reported are the
// medians of the rounds (-benchtime=5x) and, in x-of-bare units, our median by that of the bare engine.
package bench
