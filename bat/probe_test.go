package bat

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
)

// TestProbesEndWithTheStepThatFailed runs the very script of a probe in a shell of this machine.
func TestProbesEndWithTheStepThatFailed(t *testing.T) {
	for _, test := range []struct {
		name  string
		steps []Step
		want  string
	}{
		{"all well", []Step{{"a", "true"}, Works("b", "[ 1 = 1 ]"), Refused("c", "false"), {"d", "! grep -q x </dev/null"}}, ""},
		{"the second", []Step{{"a", "true"}, {"b", "x=1; [ $x = 2 ]"}, {"c", "true"}}, "not so: b"},
		{"what should be refused", []Step{Refused("a", "true")}, "not so: a"},
		{"a step that exits", []Step{{"a", "exit 1"}, {"b", "true"}}, "not so: a"},
		{"a syntax error", []Step{{"a", "if"}}, "none of its steps'"},
	} {
		t.Run(test.name, func(t *testing.T) {
			code := 0
			err := exec.CommandContext(t.Context(), "sh", "-c", script(test.steps)).Run()
			var exit *exec.ExitError
			if errors.As(err, &exit) {
				code = exit.ExitCode()
			} else if err != nil {
				t.Fatal(err)
			}
			got := verdict(api.Instance{Name: "probe", State: cluster.Exited, ExitCode: &code}, test.steps)
			if (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
				t.Errorf("verdict = %q (exit code %d), want %q", got, code, test.want)
			}
		})
	}
}

func TestAProbeThatDidNotRunSaysWhy(t *testing.T) {
	got := verdict(api.Instance{State: cluster.Failed, Reason: "no such image"}, []Step{{"a", "true"}})
	if !strings.Contains(got, "no such image") {
		t.Errorf("verdict = %q", got)
	}
}
