package cli

import (
	"context"
	"net/netip"

	"github.com/spf13/cobra"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/terminal"
)

func (s *session) createPool() *cobra.Command {
	var cidrs, addresses []string
	command := &cobra.Command{
		Use: "pool NAME", Short: "Create a pool of addresses of the underlay that tenants' instances can have (operator)", Args: terminal.Arguments("NAME"),
		Example: "  ciao create pool lab --cidr 198.51.100.16/28 --address 198.51.100.40",
		RunE: s.operator(func(ctx context.Context, c *client.Client, args []string, streams terminal.Streams) error {
			if len(cidrs)+len(addresses) == 0 {
				return terminal.Usage("say of which addresses: --cidr 198.51.100.16/28, or --address")
			}
			created, err := c.CreatePool(ctx, api.CreatePool{Name: args[0], Addresses: append(cidrs, addresses...)})
			if err != nil {
				return err
			}
			return terminal.Show(streams.Out, s.output, created, poolColumns)
		}),
	}
	command.Flags().StringArrayVar(&cidrs, "cidr", nil, "a range, whose first and last address are not lent; may be given several times")
	command.Flags().StringArrayVar(&addresses, "address", nil, "a single address; may be given several times")
	return s.printing(command)
}

func (s *session) add() *cobra.Command {
	return terminal.Group("add", "Add addresses to a pool (operator)", s.changePool("Add addresses to a pool (operator)",
		func(addresses []string) api.UpdatePool { return api.UpdatePool{Add: addresses} }))
}

func (s *session) remove() *cobra.Command {
	return terminal.Group("remove", "Remove addresses from a pool (operator)", s.changePool("Remove addresses that no tenant has from a pool (operator)",
		func(addresses []string) api.UpdatePool { return api.UpdatePool{Remove: addresses} }))
}

// changePool is a command that changes the addresses of a pool.
func (s *session) changePool(short string, update func([]string) api.UpdatePool) *cobra.Command {
	return s.printing(&cobra.Command{
		Use: "external-ip POOL CIDR|ADDRESS…", Aliases: []string{"external-ips"}, Short: short,
		Args: terminal.Between(2, -1, "POOL", "CIDR|ADDRESS"), ValidArgsFunction: s.complete(pools),
		RunE: s.operator(func(ctx context.Context, c *client.Client, args []string, streams terminal.Streams) error {
			changed, err := c.UpdatePool(ctx, args[0], update(args[1:]))
			if err != nil {
				return pools.hint(ctx, c, args[0], err)
			}
			return terminal.Show(streams.Out, s.output, changed, poolColumns)
		}),
	})
}

func (s *session) createExternalIP() *cobra.Command {
	return s.printing(&cobra.Command{
		Use: "external-ip [POOL]", Aliases: []string{"external-ips"}, Short: "Take an address from a pool, to attach it to instances",
		Args: terminal.Between(0, 1, "POOL"), ValidArgsFunction: s.complete(pools),
		RunE: s.user(func(ctx context.Context, c *client.Client, args []string, streams terminal.Streams) error {
			var request api.CreateExternalIP
			if len(args) == 1 {
				request.Pool = args[0]
			}
			created, err := c.CreateExternalIP(ctx, request)
			if err != nil {
				return err
			}
			return terminal.Show(streams.Out, s.output, created, externalIPColumns)
		}),
	})
}

func (s *session) attach() *cobra.Command {
	return terminal.Group("attach", "Attach external IPs and volumes to instances", s.attachExternalIP(), s.attachVolume())
}

func (s *session) attachExternalIP() *cobra.Command {
	var wait waitFlags
	command := s.printing(&cobra.Command{
		Use: "external-ip ADDRESS|POOL INSTANCE", Short: "Attach an external IP, or a new one of a pool, to an instance",
		Args: terminal.Arguments("ADDRESS|POOL", "INSTANCE"), ValidArgsFunction: s.complete(lendable, instances),
		Example: "  ciao attach external-ip lab web --wait",
		RunE: s.user(func(ctx context.Context, c *client.Client, args []string, streams terminal.Streams) error {
			attached, err := attachTo(ctx, c, args[0], args[1])
			if err == nil && wait.wait {
				attached, err = awaitExternalIP(ctx, c, wait, attached, cluster.ExternalMapped)
			}
			if err != nil {
				return err
			}
			return terminal.Show(streams.Out, s.output, attached, externalIPColumns)
		}),
	})
	wait.add(command.Flags())
	return command
}

// attachTo attaches the named address, or a new one of the named pool.
func attachTo(ctx context.Context, c *client.Client, ref, instance string) (api.ExternalIP, error) {
	if _, err := netip.ParseAddr(ref); err == nil {
		return c.AttachExternalIP(ctx, ref, instance)
	}
	return c.CreateExternalIP(ctx, api.CreateExternalIP{Pool: ref, Instance: instance})
}

func awaitExternalIP(ctx context.Context, c *client.Client, wait waitFlags, e api.ExternalIP, state cluster.ExternalIPState) (api.ExternalIP, error) {
	ctx, cancel := context.WithTimeout(ctx, wait.timeout)
	defer cancel()
	return c.AwaitExternalIP(ctx, e.Address.String(), state)
}

func (s *session) detach() *cobra.Command {
	return terminal.Group("detach", "Detach external IPs and volumes from instances", s.detachExternalIP(), s.detachVolume())
}

func (s *session) detachExternalIP() *cobra.Command {
	var wait waitFlags
	command := s.printing(&cobra.Command{
		Use: "external-ip ADDRESS", Short: "Detach an external IP from its instance; the tenant keeps it",
		Args: terminal.Arguments("ADDRESS"), ValidArgsFunction: s.complete(externalIPs),
		RunE: s.user(func(ctx context.Context, c *client.Client, args []string, streams terminal.Streams) error {
			detached, err := c.DetachExternalIP(ctx, args[0])
			if err == nil && wait.wait {
				detached, err = awaitExternalIP(ctx, c, wait, detached, cluster.ExternalReserved)
			}
			if err != nil {
				return externalIPs.hint(ctx, c, args[0], err)
			}
			return terminal.Show(streams.Out, s.output, detached, externalIPColumns)
		}),
	})
	wait.add(command.Flags())
	return command
}
