package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// complete completes one name of a thing; completeAll any number, each once.
func (s *session) complete(n noun) cobra.CompletionFunc    { return s.completion(n, 1) }
func (s *session) completeAll(n noun) cobra.CompletionFunc { return s.completion(n, -1) }

// completion asks the cluster for names; without one there are none, and no error disturbs the line.
func (s *session) completion(n noun, most int) cobra.CompletionFunc {
	return func(command *cobra.Command, given []string, begun string) ([]string, cobra.ShellCompDirective) {
		if most >= 0 && len(given) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(command.Context(), lookIn)
		defer cancel()
		c, err := s.client(n.operator)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer c.Close()
		names, err := n.names(ctx, c)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		slices.SortFunc(names, byName(func(name string) string { return name }))
		return slices.DeleteFunc(names, func(name string) bool {
			return !strings.HasPrefix(name, begun) || slices.Contains(given, name)
		}), cobra.ShellCompDirectiveNoFileComp
	}
}

// offer completes a flag with fixed words.
func offer(command *cobra.Command, flag string, words []string) {
	if err := command.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // there is no such flag: a slip of the program
	}
}

// then completes further arguments with fixed words, one list for each.
func then(first cobra.CompletionFunc, words ...[]string) cobra.CompletionFunc {
	return func(command *cobra.Command, given []string, begun string) ([]string, cobra.ShellCompDirective) {
		switch n := len(given); {
		case n == 0:
			return first(command, given, begun)
		case n <= len(words):
			return words[n-1], cobra.ShellCompDirectiveNoFileComp
		default:
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
	}
}
