package terminal

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// ExitUsage is the exit code of a command that was used wrongly.
const ExitUsage = 2

type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// Usage is the error of a command that was used wrongly: one sentence that says how to use it.
func Usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

func isUsage(err error) bool {
	var usage usageError
	return errors.As(err, &usage)
}

type silentError struct{ err error }

func (e silentError) Error() string { return e.err.Error() }
func (e silentError) Unwrap() error { return e.err }

// Silent is an error of which only the exit code counts: it has been shown already, or needs no words.
func Silent(err error) error { return silentError{err} }

func isSilent(err error) bool {
	var silent silentError
	return errors.As(err, &silent)
}

// Arguments wants exactly these arguments; the names are for the message.
func Arguments(names ...string) cobra.PositionalArgs {
	return Between(len(names), len(names), names...)
}

// Between wants least to most arguments; most -1 is any number.
func Between(least, most int, names ...string) cobra.PositionalArgs {
	return func(command *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return Usage("%s is missing; use: %s", strings.Join(names[len(args):least], " and "), command.UseLine())
		case most >= 0 && len(args) > most:
			return Usage("%q is one argument too many; use: %s", args[most], command.UseLine())
		}
		return nil
	}
}

// Group makes a command that only holds others: called alone it shows its help, with an unknown word it names the nearest.
func Group(use, short string, commands ...*cobra.Command) *cobra.Command {
	group := &cobra.Command{Use: use, Short: short, SuggestionsMinimumDistance: 2, Args: cobra.ArbitraryArgs}
	group.RunE = func(command *cobra.Command, args []string) error {
		if len(args) == 0 {
			return command.Help()
		}
		hint := fmt.Sprintf("; `%s --help` lists what it knows", command.CommandPath())
		if near := command.SuggestionsFor(args[0]); len(near) > 0 {
			hint = fmt.Sprintf("; did you mean %s?", strings.Join(near, " or "))
		}
		return Usage("%s knows no %q%s", command.CommandPath(), args[0], hint)
	}
	group.AddCommand(commands...)
	return group
}

// Bounds of what counts as misspelt.
const (
	maxDistance = 3 // letters changed, added and left out
	maxNear     = 3
)

// Nearest returns the names that look like what was meant by word, three at most. They are found as misspelt commands are.
func Nearest(word string, names []string) []string {
	if word == "" {
		return nil
	}
	known := &cobra.Command{SuggestionsMinimumDistance: min(maxDistance, max(1, len(word)/2))}
	for _, name := range names {
		known.AddCommand(&cobra.Command{Use: name, Run: func(*cobra.Command, []string) {}})
	}
	near := known.SuggestionsFor(word)
	return near[:min(len(near), maxNear)]
}
