package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/cluster/config"
	"github.com/ciaocloud/ciao/terminal"
)

func (s *session) create() *cobra.Command {
	return terminal.Group("create", "Create instances, workloads, images, volumes, SSH keys, external IPs and tenants", s.createInstance(), s.createWorkload(), s.createImage(), s.createVolume(), s.createSSHKey(), s.createTenant(), s.createPool(), s.createExternalIP())
}

func (s *session) createInstance() *cobra.Command {
	var request api.CreateInstances
	var labels, keys, given []string
	var wait waitFlags
	command := &cobra.Command{
		Use: "instance WORKLOAD", Aliases: []string{"instances"}, Short: "Create instances of a workload, all or none",
		Args: terminal.Arguments("WORKLOAD"), ValidArgsFunction: s.complete(workloads),
		RunE: s.user(func(ctx context.Context, c *client.Client, args []string, streams terminal.Streams) error {
			var err error
			if request.Labels, err = parseLabels(labels); err != nil {
				return err
			}
			if err = addKeys(&request, keys); err != nil {
				return err
			}
			if request.Volumes, err = parseVolumes(given); err != nil {
				return err
			}
			if request.Count < 1 {
				return terminal.Usage("--instances must be at least 1")
			}
			request.Workload = args[0]
			created, err := c.CreateInstances(ctx, request)
			if err != nil {
				return hintCreate(ctx, c, request, err)
			}
			if created, err = wait.until(ctx, c, streams, "active", created, client.Active); err != nil {
				return err
			}
			return terminal.List(streams.Out, s.output, created, instanceList)
		}),
	}
	flags := command.Flags()
	flags.IntVar(&request.Count, "instances", 1, "how many")
	flags.StringVar(&request.Name, "name", "", "the name, or the stem of the names NAME-1, NAME-2, …")
	flags.StringArrayVar(&labels, "label", nil, "KEY=VALUE; may be given several times")
	flags.StringArrayVar(&keys, "ssh-key", nil, "name of a key that the tenant keeps, or path of a file with a public key (./key): lets the user of a virtual machine's image in; may be given several times")
	flags.StringArrayVar(&given, "volume", nil, "VOLUME:TARGET, an existing volume and where the one instance finds it, with :ro behind if it cannot be written to; may be given several times")
	if err := command.RegisterFlagCompletionFunc("ssh-key", s.completeKeys); err != nil {
		panic(err) // there is no such flag: a slip of the program
	}
	s.completeFlag(command, "volume", volumes)
	wait.add(flags)
	return s.printing(command)
}

// readKeys reads the lines of files with public keys.
func readKeys(files []string) ([]string, error) {
	var keys []string
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("%w: --ssh-key: %w", cluster.ErrInvalid, err)
		}
		if bytes.Contains(data, []byte("PRIVATE KEY")) {
			return nil, fmt.Errorf("%w: --ssh-key %s is a private key; give the public one, %[2]s.pub", cluster.ErrInvalid, name)
		}
		for line := range strings.Lines(string(data)) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				keys = append(keys, line)
			}
		}
	}
	return keys, nil
}

func (s *session) createWorkload() *cobra.Command {
	return s.printing(&cobra.Command{
		Use: "workload FILE", Short: "Create a workload from a YAML file, or - for standard input", Args: terminal.Arguments("FILE"),
		Example: `  ciao create workload - <<END
  name: web
  kind: container
  image: busybox
  command: [httpd, -f]
  requirements: {vcpus: 0.5, memory_mib: 64}
  END`,
		RunE: func(command *cobra.Command, args []string) error {
			file, err := workloadFile(args[0], command.InOrStdin())
			if err != nil {
				return err
			}
			operator := file.Visibility == "public"
			return s.as(operator, func(ctx context.Context, c *client.Client, _ []string, streams terminal.Streams) error {
				if operator {
					c = c.ForTenant("")
				}
				created, err := c.CreateWorkload(ctx, api.NewWorkload(file.Name, file.Visibility, file.Spec))
				if err != nil {
					return err
				}
				return terminal.Show(streams.Out, s.output, created, workloadColumns)
			})(command, args)
		},
	})
}

func workloadFile(name string, in io.Reader) (config.Workload, error) {
	if name == "-" {
		return config.ReadWorkload("standard input", in)
	}
	return config.LoadWorkload(name)
}

func (s *session) createTenant() *cobra.Command {
	var request api.CreateTenant
	command := &cobra.Command{
		Use: "tenant NAME", Short: "Create a tenant (operator)", Args: terminal.Arguments("NAME"),
		RunE: s.operator(func(ctx context.Context, c *client.Client, args []string, streams terminal.Streams) error {
			request.Name = args[0]
			created, err := c.CreateTenant(ctx, request)
			if err != nil {
				return err
			}
			return terminal.Show(streams.Out, s.output, created, tenantColumns)
		}),
	}
	flags := command.Flags()
	flags.StringVar(&request.ID, "id", "", "its id, a UUID; made up when empty")
	flags.IntVar(&request.SubnetBits, "cidr-prefix-size", 0, "prefix length of its subnets, 16 to 29 (24)")
	flags.BoolVar(&request.PrivilegedContainers, "create-privileged-containers", false, "allow it privileged containers, which can control their node")
	return s.printing(command)
}

func parseLabels(texts []string) (map[string]string, error) {
	if len(texts) == 0 {
		return nil, nil
	}
	labels := make(map[string]string, len(texts))
	for _, text := range texts {
		key, value, found := strings.Cut(text, "=")
		if !found || key == "" {
			return nil, terminal.Usage("--label is %q; it must be KEY=VALUE", text)
		}
		labels[key] = value
	}
	return labels, nil
}
