package cli

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ciaocloud/ciao/cluster/apiserver/apiservertest"
	"github.com/ciaocloud/ciao/cluster/client"
)

// flagNouns are the flags whose values are names.
var flagNouns = map[string]string{
	"tenant": "tenants", "node": "nodes", "instance": "instances", "image": "images", "volume": "volumes", "ssh-key": "ssh-keys",
	"workload": "workloads", "pool": "pools",
}

// TestEveryNameCompletes walks all commands: where the help wants the name of something that is there, and in every flag that takes one, the tab
// key asks the cluster for it.
func TestEveryNameCompletes(t *testing.T) {
	a := apiservertest.New(t)
	t.Setenv(client.EnvController, a.Address)
	t.Setenv(client.EnvCA, a.CA())
	t.Setenv(client.EnvClientCert, a.Tenant(apiservertest.Blue))
	t.Setenv(client.EnvAdminCert, a.Operator())
	words := map[string]string{}
	for _, n := range []*noun{&instances, &workloads, &images, &volumes, &sshKeys, &nodes, &tenants, &pools, &externalIPs, &cncis} {
		words[n.argument] = n.plural
		before := n.names
		n.names = func(context.Context, *client.Client) ([]string, error) {
			return []string{"some of the " + n.plural}, nil
		}
		t.Cleanup(func() { n.names = before })
	}
	found := map[string]int{}
	walk(root("test"), func(command *cobra.Command) {
		command.SetContext(t.Context())
		for i, word := range arguments(command) {
			for _, plural := range named(command, word, words) {
				found[plural]++
				given := slices.Repeat([]string{"given"}, i)
				wantsNames(t, command.UseLine()+": "+word, command.ValidArgsFunction, command, given, plural)
				if strings.HasSuffix(word, "…") {
					wantsNames(t, command.UseLine()+": another "+word, command.ValidArgsFunction, command, append(given, "given"), plural)
				}
			}
		}
		command.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if plural := flagNouns[f.Name]; plural != "" && strings.HasPrefix(f.Value.Type(), "string") {
				complete, _ := command.GetFlagCompletionFunc(f.Name)
				wantsNames(t, command.UseLine()+" --"+f.Name, complete, command, nil, plural)
			}
		})
	})
	for word, plural := range words {
		if found[plural] == 0 {
			t.Errorf("no command wants a %s: is the help in other words now?", word)
		}
	}
}

func walk(command *cobra.Command, visit func(*cobra.Command)) {
	visit(command)
	for _, below := range command.Commands() {
		walk(below, visit)
	}
}

// arguments are the words of the help for arguments.
func arguments(command *cobra.Command) (words []string) {
	for _, word := range strings.Fields(command.Use)[1:] {
		if word = strings.Trim(word, "[]"); word != strings.ToLower(word) {
			words = append(words, word)
		}
	}
	return words
}

// named are the kinds of things that an argument names. A NAME is that of something new, and an ADDRESS one that the tenant does not have, but
// where the command's noun is what is meant.
func named(command *cobra.Command, argument string, words map[string]string) (plurals []string) {
	for word := range strings.SplitSeq(strings.TrimSuffix(argument, "…"), "|") {
		plural := words[word]
		verb := command.Parent().Name()
		switch {
		case plural == "":
		case word == sshKeys.argument && (command.Name() != sshKeys.singular() || verb == "create"):
		case word == externalIPs.argument && (verb == "add" || verb == "remove"):
		default:
			plurals = append(plurals, plural)
		}
	}
	return plurals
}

func wantsNames(t *testing.T, where string, complete cobra.CompletionFunc, command *cobra.Command, given []string, plural string) {
	t.Helper()
	if complete == nil {
		t.Errorf("%s: nothing completes it, want names of %s", where, plural)
		return
	}
	if names, _ := complete(command, given, ""); !slices.Contains(names, "some of the "+plural) {
		t.Errorf("%s: it completes to %q, want names of %s", where, names, plural)
	}
}
