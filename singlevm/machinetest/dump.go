package machinetest

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// dumpTimeout bounds looking at the machine.
const dumpTimeout = time.Minute

// Section is one kind of thing on the machine, a line for each.
type Section struct {
	Name  string
	Lines []string
}

// Dump is the machine at one moment.
type Dump []Section

// Take looks at the machine.
func Take(t testing.TB) Dump {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), dumpTimeout)
	defer cancel()
	dump := make(Dump, 0, len(sources))
	for _, source := range sources {
		lines, err := source.read(ctx)
		if err != nil {
			t.Fatalf("look at the machine's %s: %v", source.name, err)
		}
		if !source.ordered {
			slices.Sort(lines)
		}
		dump = append(dump, Section{source.name, lines})
	}
	return dump
}

// String is the dump as text, each section under its name.
func (d Dump) String() string {
	var text strings.Builder
	for _, section := range d {
		fmt.Fprintf(&text, "== %s (%d)\n", section.Name, len(section.Lines))
		for _, line := range section.Lines {
			fmt.Fprintln(&text, line)
		}
	}
	return text.String()
}

// Same waits until the machine is as it was: the kernel and the engine finish some removals a moment after they said so. It returns
// the difference when that does not happen within patience.
func Same(t testing.TB, before Dump, patience time.Duration) (diff string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		after := Take(t)
		if diff = cmp.Diff(before, after); diff == "" || time.Now().After(deadline) {
			return diff
		}
		<-time.After(100 * time.Millisecond)
	}
}

// source is how one section is read.
type source struct {
	name    string
	ordered bool // the order of its lines means something
	read    func(context.Context) ([]string, error)
}

var sources = []source{
	{name: "processes", read: processes},
	{name: "network namespaces", read: namespaces},
	{name: "links", read: links},
	{name: "addresses", read: addresses},
	{name: "routes", read: command("ip", "route", "show", "table", "all")},
	{name: "routes of IPv6", read: routes6},
	{name: "rules of routing", read: command("ip", "rule")},
	{name: "forwarding entries", read: command("bridge", "fdb", "show")},
	{name: "nftables", read: nftables},
	{name: "iptables", ordered: true, read: xtables("iptables-save")},
	{name: "ip6tables", ordered: true, read: xtables("ip6tables-save")},
	{name: "sysctls", read: sysctls},
	{name: "cgroups", read: cgroups},
	{name: "mounts", read: mounts},
	{name: "containers", read: command("docker", "ps", "-a", "--no-trunc", "--format", "{{.Names}} {{.Image}} {{.Labels}}")},
	{name: "networks of the engine", read: command("docker", "network", "ls", "--format", "{{.Name}} {{.Driver}} {{.Labels}}")},
	{name: "images", read: command("docker", "images", "-a", "--format", "{{.Repository}}:{{.Tag}}")},
	{name: "volumes", read: command("docker", "volume", "ls", "--format", "{{.Name}}")},
	{name: "plugin sockets", read: files("/run/docker/plugins")},
	{name: "files of ciao", read: files("/run/ciao", "/var/lib/ciao", "/etc/systemd/system", "/run/systemd/system")},
	{name: "temporary files", read: temporary},
	{name: "units", read: units},
}

// command reads the lines that a program prints; a program that is not installed has nothing to say.
func command(name string, args ...string) func(context.Context) ([]string, error) {
	return func(ctx context.Context) ([]string, error) {
		if _, err := exec.LookPath(name); err != nil {
			return nil, nil
		}
		var said, complained strings.Builder
		run := exec.CommandContext(ctx, name, args...)
		run.Stdout, run.Stderr = &said, &complained
		if err := run.Run(); err != nil {
			return nil, fmt.Errorf("%s: %w: %s", strings.Join(run.Args, " "), err, complained.String())
		}
		return lines(said.String()), nil
	}
}

func lines(text string) []string {
	all := strings.Split(text, "\n")
	return slices.DeleteFunc(all, func(line string) bool { return strings.TrimSpace(line) == "" })
}

// without leaves out the lines that contain one of the parts.
func without(all []string, parts ...string) []string {
	return slices.DeleteFunc(all, func(line string) bool {
		return slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(line, part) })
	})
}
