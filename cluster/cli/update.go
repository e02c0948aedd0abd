package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/terminal"
)

func (s *session) update() *cobra.Command {
	return terminal.Group("update", "Change tenants and quotas (operator)", s.updateQuota(), s.updateTenant())
}

var quotaNames = []string{
	api.QuotaInstances, api.QuotaVCPUs, api.QuotaMemoryMiB, api.QuotaDiskMiB, api.QuotaImages, api.QuotaExternalIPs, api.QuotaVolumes,
	api.QuotaInstanceVCPUs, api.QuotaInstanceMemoryMiB, api.QuotaInstanceDiskMiB,
}

func (s *session) updateQuota() *cobra.Command {
	return s.printing(&cobra.Command{
		Use: "quota TENANT NAME VALUE|unlimited", Short: "Change what a tenant may hold (operator)",
		Args: terminal.Arguments("TENANT", "NAME", "VALUE"), Example: "  ciao update quota acme instances 50",
		ValidArgsFunction: then(s.complete(tenants), quotaNames, []string{"unlimited"}),
		RunE: s.operator(func(ctx context.Context, c *client.Client, args []string, streams terminal.Streams) error {
			quota, err := c.UpdateQuota(ctx, args[0], api.UpdateQuota{Limits: map[string]string{args[1]: args[2]}})
			if err != nil {
				return tenants.hint(ctx, c, args[0], err)
			}
			return terminal.List(streams.Out, s.output, quota.Items, quotaColumns)
		}),
	})
}

func (s *session) updateTenant() *cobra.Command {
	var name string
	var bits int
	var privileged bool
	command := &cobra.Command{Use: "tenant TENANT", Short: "Change a tenant (operator)", Args: terminal.Arguments("TENANT"), ValidArgsFunction: s.complete(tenants)}
	flags := command.Flags()
	flags.StringVar(&name, "name", "", "its new name")
	flags.IntVar(&bits, "cidr-prefix-size", 0, "prefix length of subnets made from now on, 16 to 29")
	flags.BoolVar(&privileged, "create-privileged-containers", false, "allow it privileged containers, or not with =false")
	command.RunE = s.operator(func(ctx context.Context, c *client.Client, args []string, streams terminal.Streams) error {
		var update api.UpdateTenant
		if flags.Changed("name") {
			update.Name = &name
		}
		if flags.Changed("cidr-prefix-size") {
			update.SubnetBits = &bits
		}
		if flags.Changed("create-privileged-containers") {
			update.PrivilegedContainers = &privileged
		}
		if update == (api.UpdateTenant{}) {
			return terminal.Usage("nothing to change: use --name, --cidr-prefix-size or --create-privileged-containers")
		}
		changed, err := c.UpdateTenant(ctx, args[0], update)
		if err != nil {
			return tenants.hint(ctx, c, args[0], err)
		}
		return terminal.Show(streams.Out, s.output, changed, tenantColumns)
	})
	return s.printing(command)
}
