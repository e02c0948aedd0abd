package cli

import (
	"context"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/terminal"
)

func (s *session) createVolume() *cobra.Command {
	var request api.CreateVolume
	var wanted string
	command := &cobra.Command{
		Use: "volume [NAME]", Short: "Create a volume: empty, or a copy of an image or a volume", Args: terminal.Between(0, 1, "NAME"),
		Example: `  ciao create volume data --size 10GiB
  ciao create volume copy --volume data
  ciao create volume scratch --size 100GiB --storage local`,
		RunE: s.user(func(ctx context.Context, c *client.Client, args []string, streams terminal.Streams) (err error) {
			if len(args) == 1 {
				request.Name = args[0]
			}
			if request.SizeMiB, err = parseSize(wanted); err != nil {
				return err
			}
			created, err := c.CreateVolume(ctx, request)
			if err != nil {
				return err
			}
			return terminal.Show(streams.Out, s.output, created, volumeColumns)
		}),
	}
	flags := command.Flags()
	flags.StringVar(&wanted, "size", "", "such as 512MiB or 10GiB; that of what it is a copy of when it is not given")
	flags.StringVar(&request.Image, "image", "", "uploaded image that it begins as a copy of")
	flags.StringVar(&request.Volume, "volume", "", "volume that it begins as a copy of; no instance may have that")
	flags.StringVar((*string)(&request.Storage), "storage", "", "what keeps it: local (a node) or ceph; the cluster's choice when it is not given")
	s.completeFlag(command, "image", images)
	s.completeFlag(command, "volume", volumes)
	offer(command, "storage", []string{string(cluster.StorageLocal), string(cluster.StorageCeph)})
	return s.printing(command)
}

// parseSize reads an amount with its unit, in MiB; empty is 0.
func parseSize(text string) (mib int64, err error) {
	if text == "" {
		return 0, nil
	}
	bytes, err := humanize.ParseBytes(text)
	if err != nil || bytes == 0 || bytes > 1<<62 || !strings.ContainsAny(text, "kKmMgGtT") {
		return 0, terminal.Usage("--size is %q; it must be an amount with its unit, such as 512MiB or 10GiB", text)
	}
	return int64((bytes + 1<<20 - 1) >> 20), nil
}

func (s *session) attachVolume() *cobra.Command {
	var request api.AttachVolume
	var wait waitFlags
	command := &cobra.Command{
		Use: "volume VOLUME INSTANCE", Short: "Give a volume to an instance",
		Long: "Give a volume to an instance: a VM that runs finds it as another disk; one that does not run has it from its next start on. Containers and processes must not run.",
		Args: terminal.Arguments("VOLUME", "INSTANCE"), ValidArgsFunction: s.complete(volumes, instances),
		Example: `  ciao attach volume data db --target /var/lib/db
  ciao attach volume disk vm --wait`,
		RunE: s.user(func(ctx context.Context, c *client.Client, args []string, streams terminal.Streams) error {
			request.Instance = args[1]
			attached, err := c.AttachVolume(ctx, args[0], request)
			if err == nil && wait.wait {
				attached, err = awaitVolume(ctx, c, wait, attached, cluster.VolumeAttached)
			}
			if err != nil {
				return volumes.hint(ctx, c, args[0], err)
			}
			return terminal.Show(streams.Out, s.output, attached, volumeColumns)
		}),
	}
	command.Flags().StringVar(&request.Target, "target", "", "containers and processes: absolute path at which they find it")
	command.Flags().BoolVar(&request.ReadOnly, "read-only", false, "the instance cannot write to it")
	wait.add(command.Flags())
	return s.printing(command)
}

func awaitVolume(ctx context.Context, c *client.Client, wait waitFlags, v api.Volume, state cluster.VolumeState) (api.Volume, error) {
	ctx, cancel := context.WithTimeout(ctx, wait.timeout)
	defer cancel()
	return c.AwaitVolume(ctx, v.ID, state)
}

func (s *session) detachVolume() *cobra.Command {
	var wait waitFlags
	command := &cobra.Command{
		Use: "volume VOLUME", Short: "Take a volume from its instance",
		Long: "Take a volume from its instance. A VM that runs is asked to let go of the disk: unmount it there first. Containers and processes must not run.",
		Args: terminal.Arguments("VOLUME"), ValidArgsFunction: s.complete(volumes),
		RunE: s.user(func(ctx context.Context, c *client.Client, args []string, streams terminal.Streams) error {
			detached, err := c.DetachVolume(ctx, args[0])
			if err == nil && wait.wait {
				detached, err = awaitVolume(ctx, c, wait, detached, cluster.VolumeAvailable)
			}
			if err != nil {
				return volumes.hint(ctx, c, args[0], err)
			}
			return terminal.Show(streams.Out, s.output, detached, volumeColumns)
		}),
	}
	wait.add(command.Flags())
	return s.printing(command)
}

// parseVolumes reads VOLUME[:TARGET[:ro]].
func parseVolumes(texts []string) (all []api.InstanceVolume, err error) {
	for _, text := range texts {
		name, target, _ := strings.Cut(text, ":")
		target, mode, given := strings.Cut(target, ":")
		if name == "" || given && mode != "ro" {
			return nil, terminal.Usage("--volume is %q; it must be VOLUME:TARGET, with :ro behind for one that cannot be written to", text)
		}
		all = append(all, api.InstanceVolume{Volume: name, Target: target, ReadOnly: given})
	}
	return all, nil
}

var volumeColumns = []column[api.Volume]{
	{Title: "name", Value: func(v api.Volume) string { return v.Name }},
	{Title: "state", Value: func(v api.Volume) string { return string(v.State) }},
	{Title: "size", Value: func(v api.Volume) string { return size(v.SizeMiB << 20) }},
	{Title: "content", Value: func(v api.Volume) string { return string(v.Content) }},
	{Title: "storage", Value: func(v api.Volume) string { return string(v.Storage) }},
	{Title: "instance", Value: func(v api.Volume) string { return v.Instance }},
	{Title: "target", Value: func(v api.Volume) string { return v.Target }},
	{Title: "read only", Value: func(v api.Volume) string { return yes(v.ReadOnly) }},
	{Title: "ephemeral", Value: func(v api.Volume) string { return yes(v.Ephemeral) }},
	{Title: "copy of", Value: func(v api.Volume) string { return v.Image + v.Source }},
	{Title: "node", Value: func(v api.Volume) string { return v.Node }},
	{Title: "tenant", Value: func(v api.Volume) string { return v.Tenant }},
	{Title: "created", Value: func(v api.Volume) string { return clock(v.Created) }},
	{Title: "id", Value: func(v api.Volume) string { return v.ID }},
	{Title: "reason", Value: func(v api.Volume) string { return v.Reason }},
}

var volumeList = []column[api.Volume]{
	{Title: "name", Value: func(v api.Volume) string { return v.Name }},
	{Title: "state", Value: func(v api.Volume) string { return string(v.State) }},
	{Title: "size", Value: func(v api.Volume) string { return size(v.SizeMiB << 20) }},
	{Title: "content", Value: func(v api.Volume) string { return string(v.Content) }},
	{Title: "instance", Value: func(v api.Volume) string { return v.Instance }},
	{Title: "target", Value: func(v api.Volume) string { return v.Target }},
	{Title: "age", Value: func(v api.Volume) string { return age(v.Created) }},
	{Title: "id", Value: func(v api.Volume) string { return v.ID }},
	{Title: "reason", Value: func(v api.Volume) string { return v.Reason }},
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return ""
}
