package instance

import (
	"bytes"
	"context"
	"slices"
	"strings"

	"github.com/ciaocloud/ciao/bat"
	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
)

func logsAndExec(ctx context.Context, t *bat.T) {
	tenant := t.Tenant(ctx)
	if t.Kind == cluster.KindVM {
		console(ctx, t, tenant)
		return
	}
	logs(ctx, t, tenant)
	executions(ctx, t, tenant)
	other := t.Tenant(ctx)
	t.Ciao(ctx, other.ID, "logs", "counting").Refuses(t, "another tenant's log", 3, "counting")
	t.Ciao(ctx, other.ID, "exec", "busy", "--", "true").Refuses(t, "a command in another tenant's instance", 3, "busy")
}

func logs(ctx context.Context, t *bat.T, tenant *bat.Tenant) {
	tenant.Workload(ctx, t.Recipe("counting", "echo one; echo two >&2; sleep 2; echo three"))
	created := tenant.Create(ctx, api.CreateInstances{Workload: "counting", Name: "counting"})
	tenant.Await(ctx, created, bat.LaunchTime, bat.In(cluster.Active, cluster.Exited))
	followed := t.Ciao(ctx, tenant.ID, "logs", "counting", "--follow").Works(t, "logs --follow")
	tenant.Await(ctx, created, bat.LaunchTime, bat.In(cluster.Exited))
	for _, log := range []struct{ what, got, want string }{
		{"followed to its end", followed.Out, "one three two"},
		{"the whole log", t.Ciao(ctx, tenant.ID, "logs", "counting").Works(t, "logs").Out, "one three two"},
		{"the last line", t.Ciao(ctx, tenant.ID, "logs", "counting", "--tail", "1").Works(t, "logs --tail").Out, "three"},
	} {
		words := strings.Fields(log.got)
		slices.Sort(words) // which of two outputs is read first is the engine's affair
		if got := strings.Join(words, " "); got != log.want {
			t.Errorf("%s has %q, expected %q", log.what, got, log.want)
		}
	}
	t.Ciao(ctx, tenant.ID, "exec", "counting", "--", "true").Refuses(t, "a command in an instance that has ended", 4, "exited")
}

// console is what a virtual machine has for a log. No command can be executed in it from outside; the network tests log in.
func console(ctx context.Context, t *bat.T, tenant *bat.Tenant) {
	// The console's shell may have begun a line.
	tenant.Workload(ctx, t.Recipe("counting", "echo; echo one; echo two >&2; sleep 1; echo three; poweroff"))
	created := tenant.Create(ctx, api.CreateInstances{Workload: "counting", Name: "counting"})
	tenant.Await(ctx, created, bat.LaunchTime, bat.In(cluster.Active, cluster.Exited))
	t.Ciao(ctx, tenant.ID, "exec", "counting", "--", "true").Refuses(t, "a command in a virtual machine", 2, "vm")
	followed := t.Ciao(ctx, tenant.ID, "logs", "counting", "--follow").Works(t, "logs --follow")
	tenant.Await(ctx, created, bat.LaunchTime, bat.In(cluster.Exited))
	whole := t.Ciao(ctx, tenant.ID, "logs", "counting").Works(t, "logs")
	for what, log := range map[string]string{"the console as it was followed": followed.Out, "the console of a machine that is off": whole.Out} {
		at := -1
		for _, line := range []string{"one", "two", "three"} {
			next := slices.Index(strings.Fields(log), line)
			if next <= at {
				t.Errorf("%s does not have the word %s in its place:\n%s", what, line, log)
			}
			at = next
		}
	}
	other := t.Tenant(ctx)
	t.Ciao(ctx, other.ID, "logs", "counting").Refuses(t, "another tenant's log", 3, "counting")
}

// atTerminals executes commands as a person does: with a window that changes its size, and with Ctrl-C.
func atTerminals(ctx context.Context, t *bat.T, tenant *bat.Tenant) {
	sized := func(size string) string { return `until [ "$(stty size)" = "` + size + `" ]; do sleep 0.1; done; ` }
	window := t.AtTerminal(ctx, tenant.ID, 33, 111, "exec", "-it", "busy", "--", "sh", "-c", sized("33 111")+"echo beg''un; "+sized("44 122")+"read word; exit 5")
	window.Until(ctx, "begun")
	window.Resize(44, 122)
	window.Type("word\r")
	if code := window.End(ctx); code != 5 {
		t.Errorf("after its terminal was resized the command ended with code %d, expected 5; it printed %q", code, window.Printed())
	}
	left := t.AtTerminal(ctx, tenant.ID, 33, 111, "exec", "busy", "--", "sh", "-c", "echo beg''un; exec sleep 98765")
	left.Until(ctx, "begun")
	left.Type("\x03")
	if code := left.End(ctx); code != 130 {
		t.Errorf("after Ctrl-C ciao ended with code %d, expected 130; it printed %q", code, left.Printed())
	}
	gone := `while cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\000' ' ' | grep -q '[s]leep 98765'; do sleep 0.1; done`
	t.Ciao(ctx, tenant.ID, "exec", "busy", "--", "sh", "-c", gone).Works(t, "wait for the end of a command that Ctrl-C was pressed at")
	much := t.Ciao(ctx, tenant.ID, "exec", "busy", "--", "sh", "-c", "yes 0123456789 | head -n 1000000").Works(t, "print much")
	if len(much.Out) != 11_000_000 || strings.Trim(much.Out, "0123456789\n") != "" {
		t.Errorf("of 11,000,000 bytes %d came", len(much.Out))
	}
}

func executions(ctx context.Context, t *bat.T, tenant *bat.Tenant) {
	busy := tenant.Sleepers(ctx, "busy")[0]
	said := t.Ciao(ctx, tenant.ID, "exec", "busy", "--", "sh", "-c", "echo out; echo bad >&2; exit 42")
	if want := (bat.Said{Out: "out\n", Err: "bad\n", Code: 42}); said != want {
		t.Errorf("the command gave %+v, expected %+v", said, want)
	}
	much := strings.Repeat("0123456789", 300_000)
	var out bytes.Buffer
	code, err := tenant.API.Exec(ctx, "busy", client.Execution{Command: []string{"cat"}, Input: strings.NewReader(much), Output: &out, Errors: &out})
	if err != nil || code != 0 || out.String() != much {
		t.Errorf("cat gave %d of %d bytes of its input, code %d, %v", out.Len(), len(much), code, err)
	}
	out.Reset()
	// An engine may size a terminal after it has started the command.
	sized := `tty; until [ "$(stty size 2>/dev/null)" = "33 111" ]; do sleep 0.1; done; stty size; exit 3`
	code, err = tenant.API.Exec(ctx, "busy", client.Execution{
		Command: []string{"sh", "-c", sized}, TTY: true, Size: cluster.TerminalSize{Width: 111, Height: 33}, Output: &out, Errors: &out,
	})
	if err != nil || code != 3 || !strings.HasPrefix(out.String(), "/dev/") || !strings.Contains(out.String(), "33 111") {
		t.Errorf("on a terminal of 111 by 33 the command printed %q, code %d, %v", out.String(), code, err)
	}
	if said := t.Ciao(ctx, tenant.ID, "exec", "busy", "--", "/no/such/command"); said.Code != 126 && said.Code != 127 {
		t.Errorf("a command that is not there ends with code %d, expected 126 or 127 as in a shell", said.Code)
	}
	atTerminals(ctx, t, tenant)
	tenant.Stop(ctx, busy)
	t.Ciao(ctx, tenant.ID, "exec", "busy", "--", "true").Refuses(t, "a command in a stopped instance", 4, "stopped")
}
