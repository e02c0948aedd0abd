// Package shim runs one program of an instance so that it outlives the launcher, and tells afterwards how it ended.
//
// How it works: the program is started by a small shell script that notes both process ids with their start times, keeps a lock as
// long as it lives, and notes the exit code. So whether a program runs is known from the lock, without a process id being trusted; and
// a process is signalled only if its start time is the noted one. All notes are files of one directory:
//
//	lock       locked while the script lives
//	processes  the machine's boot, the script's and the program's process ids; written when the program was started
//	exit       the program's exit code, written when it ended; 128 and the signal's number when a signal ended it
//	stopped    there when the program was asked to end
//	output     what the program printed, and output.1 what went before
//
// What is guaranteed: at most one program runs for a directory, whatever the instruction at which the launcher was killed; its exit
// code is lost only with the script or the machine. Watchers are told of every end, whoever started the program.
package shim
