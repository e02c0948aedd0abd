package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// complete completes one name for each of the nouns, in their order.
func (s *session) complete(each ...noun) cobra.CompletionFunc {
	return func(command *cobra.Command, given []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(given) >= len(each) {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return s.known(command, each[len(given)], begun), cobra.ShellCompDirectiveNoFileComp
	}
}

// completeAll completes any number of names, each once.
func (s *session) completeAll(n noun) cobra.CompletionFunc {
	return func(command *cobra.Command, given []string, begun string) ([]string, cobra.ShellCompDirective) {
		names := s.known(command, n, begun)
		return slices.DeleteFunc(names, func(name string) bool { return slices.Contains(given, name) }), cobra.ShellCompDirectiveNoFileComp
	}
}

// known asks the cluster for the names that begin so; without one there are none, and no error disturbs the line.
func (s *session) known(command *cobra.Command, n noun, begun string) []string {
	ctx, cancel := context.WithTimeout(command.Context(), lookIn)
	defer cancel()
	c, err := s.client(n.operator)
	if err != nil {
		return nil
	}
	defer c.Close()
	names, err := n.names(ctx, c)
	if err != nil {
		return nil
	}
	slices.SortFunc(names, byName(func(name string) string { return name }))
	return slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, begun) })
}

// completeFlag completes a flag with names.
func (s *session) completeFlag(command *cobra.Command, flag string, n noun) {
	names := func(command *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
		return s.known(command, n, begun), cobra.ShellCompDirectiveNoFileComp
	}
	if err := command.RegisterFlagCompletionFunc(flag, names); err != nil {
		panic(err) // there is no such flag: a slip of the program
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
