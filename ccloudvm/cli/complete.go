package cli

import (
	"slices"

	"github.com/spf13/cobra"

	"github.com/ciaocloud/ciao/ccloudvm/instance"
)

// completeInstance completes one name of an instance, completeInstances any number, each once, completeWorkload one of a workload.
func (c *command) completeInstance(_ *cobra.Command, given []string, _ string) ([]string, cobra.ShellCompDirective) {
	return c.complete(given, 1, instanceNames)
}

func (c *command) completeInstances(_ *cobra.Command, given []string, _ string) ([]string, cobra.ShellCompDirective) {
	return c.complete(given, -1, instanceNames)
}

func (c *command) completeWorkload(_ *cobra.Command, given []string, _ string) ([]string, cobra.ShellCompDirective) {
	names, _ := c.complete(given, 1, func(m *instance.Manager) []string { return m.Workloads.Names() })
	return names, cobra.ShellCompDirectiveDefault // a workload may be a file as well
}

func instanceNames(m *instance.Manager) []string {
	names, _ := m.Names() // without any there is nothing to complete, and no error disturbs the line
	return names
}

func (c *command) complete(given []string, most int, names func(*instance.Manager) []string) ([]string, cobra.ShellCompDirective) {
	m, err := c.manager()
	if err != nil || most >= 0 && len(given) >= most {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	fresh := slices.DeleteFunc(slices.Clone(names(m)), func(name string) bool { return slices.Contains(given, name) })
	return fresh, cobra.ShellCompDirectiveNoFileComp
}

// completeCopied completes an instance's name or a file.
func (c *command) completeCopied(command *cobra.Command, given []string, begun string) ([]string, cobra.ShellCompDirective) {
	names, _ := c.completeInstance(command, given, begun)
	return names, cobra.ShellCompDirectiveDefault
}
