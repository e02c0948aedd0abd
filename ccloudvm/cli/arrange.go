package cli

import (
	"slices"
	"strings"

	urfave "github.com/urfave/cli/v2"
)

// separator is what arrange puts where the user wrote "--" after run: flag parsing eats the first one.
const separator = "--"

// arrange brings the arguments into the order that flag parsing wants, which is options first: people write them last as well. What
// follows "--" is never touched, nor is anything behind the name of `run`, where it belongs to the command in the guest.
func (c *command) arrange(args []string) []string {
	if len(args) < 2 {
		return args
	}
	i := slices.IndexFunc(c.commands(), func(each *urfave.Command) bool { return each.HasName(args[1]) })
	if i < 0 || slices.Contains(args, "--generate-bash-completion") {
		return args
	}
	verb, rest := c.commands()[i], args[2:]
	var tail []string
	if at := slices.Index(rest, separator); at >= 0 {
		rest, tail = rest[:at], append([]string{separator}, rest[at:]...)
	} else if verb.Name == runVerb {
		return args
	}
	options, words := sortArguments(verb, rest)
	if verb.Name == runVerb {
		return slices.Concat(args[:2], options, words, tail)
	}
	if len(tail) > 1 {
		tail = tail[1:]
	}
	return slices.Concat(args[:2], options, tail[:min(len(tail), 1)], words, tail[min(len(tail), 1):])
}

// sortArguments tells the options, with their values, from the other words.
func sortArguments(verb *urfave.Command, args []string) (options, words []string) {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if len(arg) < 2 || arg[0] != '-' {
			words = append(words, arg)
			continue
		}
		options = append(options, arg)
		if !strings.Contains(arg, "=") && takesValue(verb, strings.TrimLeft(arg, "-")) && i+1 < len(args) {
			i++
			options = append(options, args[i])
		}
	}
	return options, words
}

func takesValue(verb *urfave.Command, name string) bool {
	for _, f := range verb.Flags {
		if slices.Contains(f.Names(), name) {
			_, isBool := f.(*urfave.BoolFlag)
			return !isBool
		}
	}
	return false
}
