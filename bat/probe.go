package bat

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
)

// Step is one check that a probe makes, in the words of a shell.
type Step struct {
	Name   string
	Script string // its exit code judges
}

// Works is a step whose command, which must be a simple one, works within some seconds: what was just made may need to get around.
func Works(name, command string) Step { return Step{name, "within 10 " + command} }

// Refused is a step whose command, which must be a simple one, must not work.
func Refused(name, command string) Step { return Step{name, "refused " + command} }

// prelude is what every probe's shell knows:
//
//	link, own, gateway              its link, its address, the address of its CNCI
//	within N COMMAND                COMMAND works at the latest after N tries, one a second
//	refused COMMAND                 COMMAND does not work
//	reaches HOST PORT               something listens there on TCP
//	resolves NAME SERVER ADDRESS    the DNS server says so
const prelude = `link=$(ls /sys/class/net | grep -v '^lo$' | head -n 1)
own=$(ip -4 addr show "$link" | sed -n 's/.*inet \([0-9.]*\).*/\1/p')
gateway=$(ip -4 route | sed -n 's/^default via \([0-9.]*\).*/\1/p')
within() { n=$1; shift; while :; do "$@" >/dev/null 2>&1 && return 0; n=$((n-1)); [ $n -gt 0 ] || return 1; sleep 1; done; }
refused() { ! "$@"; }
reaches() { timeout 8 nc -w 3 "$1" "$2" </dev/null >/dev/null 2>&1; c=$?; [ $c = 0 ] || [ $c = 143 ]; }
resolves() { nslookup "$1" "$2" 2>/dev/null | tail -n +3 | grep -qF "$3"; }
`

// firstCode is the exit code of a probe whose first step failed; the shell's own codes are 2 and from 126 on.
const firstCode = 10

// ProbeTime is the limit of a probe beside that of its start: the steps that wait do so for at most ten seconds each.
const ProbeTime = 60 * time.Second

// Probe runs the steps in a container of the tenant, one after the other, and fails the test with the name of the first that fails.
func (n *Tenant) Probe(ctx context.Context, steps ...Step) {
	n.ProbeIn(ctx, n.t.Cluster.Container(n.t.Name("probe"), ""), steps...)
}

// ProbeIn is Probe in a container made after workload, whose command is replaced.
func (n *Tenant) ProbeIn(ctx context.Context, workload api.CreateWorkload, steps ...Step) {
	if problem := n.Try(ctx, workload, steps...); problem != "" {
		n.t.Fatalf("%s", problem)
	}
}

// Try is ProbeIn that leaves the judgement to the caller: it says which step failed, or nothing.
func (n *Tenant) Try(ctx context.Context, workload api.CreateWorkload, steps ...Step) string {
	workload.Command = []string{"sh", "-c", script(steps)}
	n.Workload(ctx, workload)
	created := n.Create(ctx, api.CreateInstances{Workload: workload.Name, Name: "probe-" + randomWord(5)})
	ended := n.Await(ctx, created, LaunchTime+ProbeTime, In(cluster.Exited, cluster.Failed))[0]
	if problem := verdict(ended, steps); problem != "" {
		return problem
	}
	for _, step := range steps {
		n.t.Logf("seen from inside: %s", step.Name)
	}
	return ""
}

// script is a shell script that runs the steps and ends with the code of the first that failed.
func script(steps []Step) string {
	var text strings.Builder
	text.WriteString(prelude)
	for i, step := range steps {
		fmt.Fprintf(&text, "( %s\n) || exit %d\n", step.Script, firstCode+i)
	}
	text.WriteString("exit 0\n")
	return text.String()
}

// verdict says what is wrong with a probe that ended, or nothing.
func verdict(ended api.Instance, steps []Step) string {
	switch {
	case ended.State != cluster.Exited || ended.ExitCode == nil:
		return fmt.Sprintf("the probe is %s without an exit code: %s", ended.State, ended.Reason)
	case *ended.ExitCode == 0:
		return ""
	case *ended.ExitCode >= firstCode && *ended.ExitCode < firstCode+len(steps):
		step := steps[*ended.ExitCode-firstCode]
		return fmt.Sprintf("seen from inside: not so: %s (`%s` in instance %s)", step.Name, step.Script, ended.Name)
	}
	return fmt.Sprintf("the probe ended with exit code %d, which is none of its steps' (%s)", *ended.ExitCode, ended.Reason)
}
