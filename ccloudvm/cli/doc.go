// Package cli is the ccloudvm command: it reads arguments, calls package instance and shows what comes back.
//
// Results go to standard output, in the form that -o or -f asks for; progress and everything else go to standard error. The exit
// code tells the class of a failure (see exit.go); `run` and `connect` end with the exit code of the command in the guest.
package cli
