package cli

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ciaocloud/ciao/ccloudvm"
	"github.com/ciaocloud/ciao/ccloudvm/instance"
	"github.com/ciaocloud/ciao/ccloudvm/qemu"
	"github.com/ciaocloud/ciao/ccloudvm/workload"
	"github.com/ciaocloud/ciao/terminal"
)

// finding is one thing that doctor looked at.
type finding struct {
	Check  string `json:"check"`
	Result string `json:"result"` // ok, warning or failure
	Text   string `json:"text"`
	Fix    string `json:"fix,omitempty"` // command that repairs it
}

const (
	fine    = "ok"
	warning = "warning"
	failure = "failure"
)

func (c *command) doctor() *cobra.Command {
	return c.printing(&cobra.Command{
		Use: "doctor", Short: "Look for what could keep instances from working on this machine", Args: terminal.Arguments(),
		RunE: func(command *cobra.Command, _ []string) error {
			m, err := c.manager()
			if err != nil {
				return err
			}
			list := examine(command.Context(), m)
			if err := terminal.List(c.streams.Out, c.output, list, findingColumns); err != nil {
				return err
			}
			if slices.ContainsFunc(list, func(f finding) bool { return f.Result == failure }) {
				return terminal.Silent(&ccloudvm.Error{Class: ccloudvm.ErrHost, Text: "something is missing"})
			}
			return nil
		},
	})
}

var findingColumns = []terminal.Column[finding]{
	{Title: "check", Value: func(f finding) string { return f.Check }},
	{Title: "result", Value: func(f finding) string { return f.Result }},
	{Title: "finding", Value: func(f finding) string { return f.Text }},
	{Title: "to repair", Value: func(f finding) string { return f.Fix }},
}

func examine(ctx context.Context, m *instance.Manager) []finding {
	var list []finding
	for _, n := range needs() {
		list = append(list, program(n))
	}
	list = append(list, accelerator(ctx, m.Prober), memory(m), disk(m), proxy(), linger(ctx))
	return list
}

func program(n need) finding {
	if found(n.program) {
		return finding{n.program, fine, n.why, ""}
	}
	result := failure
	if n.program == "mmdebstrap" || n.program == "mke2fs" || n.program == "newuidmap" {
		result = warning // only where images have to be built
	}
	return finding{n.program, result, "is not installed; it " + n.why, "ccloudvm setup"}
}

func accelerator(ctx context.Context, p qemu.Prober) finding {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	a, err := p.Choose(ctx, "auto")
	switch {
	case err != nil:
		return finding{"accelerator", failure, err.Error(), ""}
	case a.Kind == qemu.KVM:
		return finding{"accelerator", fine, a.Reason, ""}
	}
	return finding{"accelerator", warning, a.Reason, ""}
}

func memory(m *instance.Manager) finding {
	total, available := instance.HostMemory()
	if available < 1024 {
		return finding{"memory", warning, fmt.Sprintf("only %d of %d MiB are free", available, total), "ccloudvm stop"}
	}
	return finding{"memory", fine, fmt.Sprintf("%d of %d MiB are free", available, total), ""}
}

func disk(m *instance.Manager) finding {
	free, err := m.Layout.FreeMiB()
	switch {
	case err != nil:
		return finding{"disk", failure, err.Error(), ""}
	case free < 5<<10:
		return finding{"disk", warning, fmt.Sprintf("only %d MiB are free at %s", free, m.Layout.State), "ccloudvm delete"}
	}
	return finding{"disk", fine, fmt.Sprintf("%d GiB are free at %s", free>>10, m.Layout.State), ""}
}

func proxy() finding {
	p, err := workload.ProxyFromEnvironment(os.Getenv)
	switch {
	case err != nil:
		return finding{"proxy", failure, err.Error(), ""}
	case p == (workload.Proxy{}):
		return finding{"proxy", fine, "none", ""}
	}
	return finding{"proxy", fine, "guests will use " + concealed(strings.Trim(p.HTTP+" "+p.HTTPS, " ")) + " except for " + p.No, ""}
}

// linger tells users of systemd that their machines end with their last login.
func linger(ctx context.Context) finding {
	const check = "logout"
	if _, err := os.Stat("/run/systemd/system"); err != nil || os.Geteuid() == 0 {
		return finding{check, fine, "instances survive it", ""}
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "loginctl", "show-user", "--property=Linger", "--value").Output()
	if err == nil && strings.TrimSpace(string(out)) == "yes" {
		return finding{check, fine, "instances survive it (linger is on)", ""}
	}
	return finding{check, warning, "systemd may end your instances when you log out", "loginctl enable-linger"}
}
