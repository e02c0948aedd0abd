package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"text/template"

	"github.com/goccy/go-yaml"
	urfave "github.com/urfave/cli/v2"

	"github.com/ciaocloud/ciao/ccloudvm"
)

func outputFlags() []urfave.Flag {
	return []urfave.Flag{
		&urfave.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "`table|json|yaml`", Value: "table"},
		&urfave.StringFlag{Name: "format", Aliases: []string{"f"}, Usage: "Go `TEMPLATE` for each item, such as '{{.Name}} {{.Address}}'"},
	}
}

// show writes a result in the form that was asked for: whole is what JSON and YAML get, items what a template is executed with, one
// after the other.
func (c *command) show(ctx *urfave.Context, whole any, items []any, table func(w io.Writer)) error {
	if text := ctx.String("format"); text != "" {
		t, err := template.New("format").Option("missingkey=error").Parse(text)
		if err != nil {
			return usage("--format: " + err.Error())
		}
		for _, item := range items {
			if err := t.Execute(c.streams.Out, item); err != nil {
				return usage("--format: " + err.Error())
			}
			fmt.Fprintln(c.streams.Out)
		}
		return nil
	}
	b, err := json.MarshalIndent(whole, "", "  ")
	if err != nil {
		return err
	}
	switch o := ctx.String("output"); o {
	case "json":
		_, err = fmt.Fprintln(c.streams.Out, string(b))
	case "yaml":
		if b, err = yaml.JSONToYAML(b); err == nil {
			_, err = c.streams.Out.Write(b)
		}
	case "table":
		w := tabwriter.NewWriter(c.streams.Out, 0, 8, 2, ' ', 0)
		table(w)
		err = w.Flush()
	default:
		return usage(fmt.Sprintf("--output %s: it is table, json or yaml", o))
	}
	return err
}

func (c *command) instances() *urfave.Command {
	return &urfave.Command{
		Name: "instances", Aliases: []string{"list", "ls"}, Usage: "list the instances", Flags: outputFlags(),
		Action: func(ctx *urfave.Context) error {
			m, err := c.manager()
			if err != nil {
				return err
			}
			list, err := m.List(ctx.Context)
			if err != nil {
				return err
			}
			items := []any{}
			for _, i := range list {
				items = append(items, i)
			}
			return c.show(ctx, map[string]any{"items": items}, items, func(w io.Writer) {
				fmt.Fprintln(w, "NAME\tSTATE\tADDRESS\tWORKLOAD\tCPUS\tMEMORY\tDISK\tREASON")
				for _, i := range list {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%d MiB\t%d GiB\t%s\n", i.Name, i.State, address(i), i.Workload, i.CPUs, i.MemMiB, i.DiskGiB, i.Reason)
				}
			})
		},
	}
}

func address(i ccloudvm.Instance) string {
	if !i.Address.IsValid() {
		return "-"
	}
	return i.Address.String()
}

func (c *command) status() *urfave.Command {
	return &urfave.Command{
		Name: "status", Usage: "describe an instance", ArgsUsage: "[NAME]", Flags: outputFlags(), BashComplete: c.completeInstances,
		Action: func(ctx *urfave.Context) error {
			m, name, err := c.one(ctx)
			if err != nil {
				return err
			}
			i, err := m.Get(ctx.Context, name)
			if err != nil {
				return err
			}
			return c.show(ctx, i, []any{i}, func(w io.Writer) { describe(w, i) })
		},
	}
}

func describe(w io.Writer, i ccloudvm.Instance) {
	row := func(key string, value any) { fmt.Fprintf(w, "%s\t%v\n", key, value) }
	row("Name", i.Name)
	row("State", i.State)
	if i.Reason != "" {
		row("Reason", i.Reason)
	}
	row("Workload", i.Workload)
	row("Image", i.Image)
	row("Host address", address(i))
	row("SSH", i.SSHCommand)
	row("CPUs", i.CPUs)
	row("Memory", strconv.Itoa(i.MemMiB)+" MiB")
	row("Disk", strconv.Itoa(i.DiskGiB)+" GiB")
	for _, p := range i.Ports {
		row("Port", fmt.Sprintf("%s:%d leads to %d", i.Address, p.Host, p.Guest))
	}
	for _, m := range i.Mounts {
		row("Mount", fmt.Sprintf("%s by %s (%s)", m.Path, m.Backend, m.Why))
	}
	if i.QEMUPort != 0 {
		row("QEMU port", i.QEMUPort)
	}
	row("Accelerator", i.Accelerator)
	row("Created", i.Created.Format("2006-01-02 15:04:05"))
	var phases []string
	for _, p := range i.Phases {
		phases = append(phases, p.Name+" "+seconds(p.Duration))
	}
	row("Creation", strings.Join(phases, ", "))
}

func (c *command) workloads() *urfave.Command {
	return &urfave.Command{
		Name: "workloads", Usage: "list the workloads that can be named", Flags: outputFlags(),
		Action: func(ctx *urfave.Context) error {
			m, err := c.manager()
			if err != nil {
				return err
			}
			items := []any{}
			for _, name := range m.Workloads.Names() {
				src, err := m.Workloads.Find(ctx.Context, name, "")
				if err != nil {
					return err
				}
				items = append(items, map[string]string{"Name": name, "Origin": src.Origin})
			}
			return c.show(ctx, map[string]any{"items": items}, items, func(w io.Writer) {
				fmt.Fprintln(w, "NAME\tORIGIN")
				for _, item := range items {
					fmt.Fprintf(w, "%s\t%s\n", item.(map[string]string)["Name"], item.(map[string]string)["Origin"])
				}
			})
		},
	}
}
