// Package terminal is how ciao's commands speak: results on standard output as a table, JSON, YAML or through a template; everything
// else on standard error; one exit code for each class of error.
//
// What is guaranteed: JSON, YAML and templates see the same values under the same names as the HTTP interface gives them, and these
// names are stable; a table is for people and may change. Nothing is written to standard output but results.
package terminal

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// Streams are where a command reads and writes.
type Streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
}

// Standard are the streams of the process.
func Standard() Streams { return Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr} }

// Interactive says whether people read what is written to w.
func Interactive(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// Run runs a command tree with the conventions of all our commands: flags and arguments in any order, -- ends the flags, a wrong
// use is one sentence and not the whole help, Ctrl-C cancels the context. It returns the exit code for the error; exit translates
// errors that are not of wrong use.
func Run(root *cobra.Command, args []string, streams Streams, exit func(error) int) int {
	root.SetArgs(append([]string{}, args...)) // nil would be those of the process
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.Err)
	root.SilenceUsage = true
	root.SilenceErrors = true
	root.SetFlagErrorFunc(func(command *cobra.Command, err error) error {
		return Usage("%w; `%s --help` shows the flags", err, command.CommandPath())
	})
	err := root.Execute()
	if err == nil {
		return 0
	}
	if !isSilent(err) {
		fmt.Fprintf(streams.Err, "%s: %s\n", root.Name(), message(err))
	}
	if isUsage(err) {
		return ExitUsage
	}
	return exit(err)
}

// message is an error made safe for a terminal. Its further lines are set in, so that none looks like a word of the command itself.
func message(err error) string {
	lines := strings.Split(err.Error(), "\n")
	for i, line := range lines {
		lines[i] = printable(line)
	}
	return strings.Join(lines, "\n  ")
}
