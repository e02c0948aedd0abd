// Package cli is the ccloudvm command tree.
//
// Like every command of ciao it is made with github.com/spf13/cobra on top of package terminal (output forms, wrong use, exit
// codes): flags and arguments may come in any order (docs/adr/0004).
package cli
