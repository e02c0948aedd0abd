// Package singlevm sets a whole real cluster up on one machine, proves that it works, and removes it without a trace.
//
// Setup is a literal list of steps, each of which looks first and then makes what is missing. Run again it converges: what is
// there stays, daemons whose program is new are restarted, instances run on. Everything that it makes bears a mark (a link alias, a
// label of the engine, a comment in the firewall, a variable in the environment of processes, or a place in one directory), and Cleanup
// finds things by their marks and never by remembering: it needs no journal and works after any crash.
//
// What is guaranteed: nothing that is not marked is touched; a bridge of our name that we did not make is an error; after Cleanup
// returned without an error, the machine is as it was before the first Setup.
package singlevm
