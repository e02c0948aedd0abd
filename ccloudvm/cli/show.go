package cli

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ciaocloud/ciao/ccloudvm"
	"github.com/ciaocloud/ciao/terminal"
)

type column = terminal.Column[ccloudvm.Instance]

// columns are everything that a table can say of an instance; describe shows them all.
var columns = []column{
	{Title: "name", Value: func(i ccloudvm.Instance) string { return i.Name }},
	{Title: "state", Value: func(i ccloudvm.Instance) string { return string(i.State) }},
	{Title: "reason", Value: func(i ccloudvm.Instance) string { return i.Reason }},
	{Title: "workload", Value: func(i ccloudvm.Instance) string { return i.Workload }},
	{Title: "image", Value: func(i ccloudvm.Instance) string { return i.Image }},
	{Title: "address", Value: address},
	{Title: "ssh", Value: func(i ccloudvm.Instance) string { return i.SSHCommand }},
	{Title: "cpus", Value: func(i ccloudvm.Instance) string { return strconv.Itoa(i.CPUs) }},
	{Title: "memory", Value: func(i ccloudvm.Instance) string { return strconv.Itoa(i.MemMiB) + " MiB" }},
	{Title: "disk", Value: func(i ccloudvm.Instance) string { return strconv.Itoa(i.DiskGiB) + " GiB" }},
	{Title: "ports", Value: ports},
	{Title: "mounts", Value: mounts},
	{Title: "qemu port", Value: qemuPort},
	{Title: "accelerator", Value: func(i ccloudvm.Instance) string { return i.Accelerator }},
	{Title: "created", Value: func(i ccloudvm.Instance) string { return i.Created.Format("2006-01-02 15:04:05") }},
	{Title: "creation took", Value: phases},
}

func address(i ccloudvm.Instance) string {
	if !i.Address.IsValid() {
		return ""
	}
	return i.Address.String()
}

func qemuPort(i ccloudvm.Instance) string {
	if i.QEMUPort == 0 {
		return ""
	}
	return strconv.Itoa(i.QEMUPort)
}

func ports(i ccloudvm.Instance) string {
	texts := make([]string, len(i.Ports))
	for n, p := range i.Ports {
		texts[n] = fmt.Sprintf("%s:%d leads to %d", i.Address, p.Host, p.Guest)
	}
	return strings.Join(texts, ", ")
}

func mounts(i ccloudvm.Instance) string {
	texts := make([]string, len(i.Mounts))
	for n, m := range i.Mounts {
		texts[n] = fmt.Sprintf("%s by %s (%s)", m.Path, m.Backend, m.Why)
	}
	return strings.Join(texts, ", ")
}

func phases(i ccloudvm.Instance) string {
	texts := make([]string, len(i.Phases))
	for n, p := range i.Phases {
		texts[n] = p.Name + " " + seconds(p.Duration)
	}
	return strings.Join(texts, ", ")
}

func (c *command) instances() *cobra.Command {
	return c.printing(&cobra.Command{
		Use: "instances", Aliases: []string{"list", "ls"}, Short: "List the instances", Args: terminal.Arguments(),
		RunE: func(command *cobra.Command, _ []string) error {
			m, err := c.manager()
			if err != nil {
				return err
			}
			list, err := m.List(command.Context())
			if err != nil {
				return err
			}
			return terminal.List(c.streams.Out, c.output, list,
				terminal.Choose(columns, "name", "state", "address", "workload", "cpus", "memory", "disk", "reason"))
		},
	})
}

func (c *command) status() *cobra.Command {
	return c.printing(&cobra.Command{
		Use: "status [NAME]", Short: "Describe an instance", Args: terminal.Between(0, 1), ValidArgsFunction: c.completeInstance,
		RunE: func(command *cobra.Command, args []string) error {
			m, name, err := c.one(args)
			if err != nil {
				return err
			}
			i, err := m.Get(command.Context(), name)
			if err != nil {
				return err
			}
			return terminal.Show(c.streams.Out, c.output, i, columns)
		},
	})
}

// known is a workload that can be named.
type known struct {
	Name   string `json:"name"`
	Origin string `json:"origin"`
}

func (c *command) workloads() *cobra.Command {
	return c.printing(&cobra.Command{
		Use: "workloads", Short: "List the workloads that can be named", Args: terminal.Arguments(),
		RunE: func(command *cobra.Command, _ []string) error {
			m, err := c.manager()
			if err != nil {
				return err
			}
			var list []known
			for _, name := range m.Workloads.Names() {
				source, err := m.Workloads.Find(command.Context(), name, "")
				if err != nil {
					return err
				}
				list = append(list, known{Name: name, Origin: source.Origin})
			}
			return terminal.List(c.streams.Out, c.output, list, []terminal.Column[known]{
				{Title: "name", Value: func(k known) string { return k.Name }},
				{Title: "origin", Value: func(k known) string { return k.Origin }},
			})
		},
	})
}
