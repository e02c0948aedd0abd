package simulate_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/driver/simulate"
)

// started makes a driver with one instance that runs.
func started(t *testing.T, command ...string) (*simulate.Driver, string) {
	t.Helper()
	d, instance := simulate.New(simulate.NewEngine(simulate.Config{})), newInstance("sim", command...)
	if err := errors.Join(d.Create(t.Context(), instance, nil), d.Start(t.Context(), instance.ID)); err != nil {
		t.Fatal(err)
	}
	return d, instance.ID
}

func TestLogs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, id := started(t, "exit 3 after 10s")
		begun := time.Now()
		for _, test := range []struct {
			lines  int
			follow bool
			want   string
		}{
			{-1, false, "started\n"},
			{-1, true, "started\nexited with code 3\n"},
			{1, false, "exited with code 3\n"},
			{0, false, ""},
		} {
			var text bytes.Buffer
			if err := d.Logs(t.Context(), id, test.lines, test.follow, &text); err != nil || text.String() != test.want {
				t.Errorf("%d lines, follow %t: %q, %v, want %q", test.lines, test.follow, text.String(), err, test.want)
			}
		}
		if waited := time.Since(begun); waited < 10*time.Second {
			t.Errorf("followed an instance of 10 s for %s", waited)
		}
		if err := d.Logs(t.Context(), "unknown", -1, false, new(bytes.Buffer)); !errors.Is(err, cluster.ErrNotFound) {
			t.Errorf("logs of an unknown instance: %v", err)
		}
	})
}

func TestExec(t *testing.T) {
	d, id := started(t)
	for command, want := range map[string]struct {
		code      int
		out, errs string
	}{
		"cat":      {0, "given", ""},
		"exit 4":   {4, "", ""},
		"warn one": {0, "", "one\n"},
		"size":     {0, "80x24\n", ""},
		"other":    {0, "other\n", ""},
	} {
		var out, errs bytes.Buffer
		code, err := d.Exec(t.Context(), id, driver.Execution{
			Command: strings.Fields(command), Stdin: strings.NewReader("given"), Stdout: &out, Stderr: &errs, Size: cluster.TerminalSize{Width: 80, Height: 24},
		})
		if err != nil || code != want.code || out.String() != want.out || errs.String() != want.errs {
			t.Errorf("%s: code %d, output %q, errors %q, %v, want %+v", command, code, out.String(), errs.String(), err, want)
		}
	}
	if err := d.Stop(t.Context(), id, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Exec(t.Context(), id, driver.Execution{Command: []string{"cat"}}); !errors.Is(err, cluster.ErrConflict) {
		t.Errorf("execute in a stopped instance: %v", err)
	}
}
