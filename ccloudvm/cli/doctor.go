package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	urfave "github.com/urfave/cli/v2"

	"github.com/ciaocloud/ciao/ccloudvm"
	"github.com/ciaocloud/ciao/ccloudvm/instance"
	"github.com/ciaocloud/ciao/ccloudvm/qemu"
	"github.com/ciaocloud/ciao/ccloudvm/workload"
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

func (c *command) doctor() *urfave.Command {
	return &urfave.Command{
		Name: "doctor", Usage: "look for what could keep instances from working on this machine", Flags: outputFlags(),
		Action: func(ctx *urfave.Context) error {
			m, err := c.manager()
			if err != nil {
				return err
			}
			list := examine(ctx.Context, m)
			items, failed := []any{}, false
			for _, f := range list {
				items = append(items, f)
				failed = failed || f.Result == failure
			}
			err = c.show(ctx, map[string]any{"items": items}, items, func(w io.Writer) {
				fmt.Fprintln(w, "CHECK\tRESULT\tFINDING")
				for _, f := range list {
					text := f.Text
					if f.Fix != "" {
						text += " (" + f.Fix + ")"
					}
					fmt.Fprintf(w, "%s\t%s\t%s\n", f.Check, f.Result, text)
				}
			})
			if err == nil && failed {
				return silent{&ccloudvm.Error{Class: ccloudvm.ErrHost, Text: "something is missing"}}
			}
			return err
		},
	}
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
