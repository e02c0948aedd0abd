package singlevm

import (
	"os/exec"
	"strings"
	"testing"
)

// What a real shell makes of the checks is judged one by one.
func TestChecksAreJudged(t *testing.T) {
	for _, test := range []struct {
		name   string
		checks []probing
		want   string // in the error; "" is none
	}{
		{"all as they should", []probing{works("echo %d", 1), fails("false"), works("printf 'two\nlines\n' | grep -wF lines")}, ""},
		{"works and should not", []probing{works("true"), fails("echo reached")}, "`echo reached` in web-1 should not have worked: status 0 reached"},
		{"fails and should not", []probing{works("sh -c 'echo no route >&2; exit 3'")}, "ended with status 3 no route"},
		{"cannot be run", []probing{fails("no-such-command-here")}, "could not be run in web-1: status 127"},
		{"two problems", []probing{works("false"), fails("true")}, "`true` in web-1 should not have worked"},
	} {
		t.Run(test.name, func(t *testing.T) {
			output, err := exec.CommandContext(t.Context(), "sh", "-c", script(test.checks)).Output()
			if err != nil {
				t.Fatal(err)
			}
			err = verdict("web-1", test.checks, string(output))
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

func TestSilentChecksAreProblems(t *testing.T) {
	for _, output := range []string{"", "sh: out of memory", record + "7 0 ", record + "x"} {
		if err := verdict("web-1", []probing{fails("ping host")}, output); err == nil || !strings.Contains(err.Error(), "said nothing of how it ended") {
			t.Errorf("%q: error %v", output, err)
		}
	}
}
