package bat

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/ciaocloud/ciao/cluster/client"
)

// Said is what a run of a program gave.
type Said struct {
	Out  string
	Err  string
	Code int // exit code
}

// killTime is how long a program that was interrupted may take to end.
const killTime = 5 * time.Second

// Ciao runs the ciao program with the operator's certificate for the tenant, which may be empty. A program that does not start ends
// the test; any exit code is for the caller to judge.
func (t *T) Ciao(ctx context.Context, tenant string, args ...string) Said {
	c := t.Cluster
	return t.ciao(ctx, []string{client.EnvClientCert + "=" + c.Access.Operator, client.EnvAdminCert + "=" + c.Access.Operator, client.EnvTenant + "=" + tenant}, args)
}

// CiaoAs runs the ciao program as a user.
func (t *T) CiaoAs(ctx context.Context, user User, args ...string) Said {
	return t.ciao(ctx, []string{client.EnvClientCert + "=" + user.Certificate, client.EnvTenant + "=" + user.Tenant}, args)
}

func (t *T) ciao(ctx context.Context, identity, args []string) Said {
	c := t.Cluster
	if c.Ciao == "" {
		t.Skipf("there is no ciao program beside this one or on PATH")
	}
	environment := append(WithoutCiao(os.Environ()), client.EnvController+"="+c.Controller, client.EnvCA+"="+c.CA)
	said, err := run(ctx, append(environment, identity...), c.Ciao, args...)
	t.Need(err, "run ciao %s", strings.Join(args, " "))
	t.Logf("ciao %s → %d %s", strings.Join(args, " "), said.Code, strings.TrimSpace(said.Err))
	return said
}

// WithoutCiao is an environment without ciao's own variables.
func WithoutCiao(environment []string) []string {
	var kept []string
	for _, variable := range environment {
		if !strings.HasPrefix(variable, "CIAO_") {
			kept = append(kept, variable)
		}
	}
	return kept
}

// run runs a program to its end, or until ctx ends.
func run(ctx context.Context, environment []string, program string, args ...string) (Said, error) {
	var out, problems bytes.Buffer
	command := exec.CommandContext(ctx, program, args...)
	command.Env, command.Stdout, command.Stderr = environment, &out, &problems
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	command.WaitDelay = killTime
	err := command.Run()
	said := Said{Out: out.String(), Err: problems.String()}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return said, context.Cause(ctx)
	case errors.As(err, &exit):
		said.Code = exit.ExitCode()
		return said, nil
	}
	return said, err
}

// Works ends the test if the program failed.
func (s Said) Works(t *T, what string) Said {
	if s.Code != 0 {
		t.Fatalf("%s: exit code %d: %s", what, s.Code, strings.TrimSpace(s.Err))
	}
	return s
}

// Refuses fails the test if the program did not end with the code and one sentence on standard error that contains says.
func (s Said) Refuses(t *T, what string, code int, says string) {
	text := strings.TrimSpace(s.Err)
	switch {
	case s.Code != code:
		t.Errorf("%s: exit code %d, expected %d: %s", what, s.Code, code, text)
	case s.Out != "":
		t.Errorf("%s: standard output must stay empty, but has %q", what, s.Out)
	case text == "" || strings.Contains(text, "\n"):
		t.Errorf("%s: standard error must be one sentence, but is %q", what, text)
	case !strings.Contains(text, says):
		t.Errorf("%s: the sentence does not say %q: %q", what, says, text)
	}
}

// JSON reads the program's result.
func (s Said) JSON(t *T, what string, into any) {
	s.Works(t, what)
	t.Need(json.Unmarshal([]byte(s.Out), into), "%s: the output is not JSON: %s", what, s.Out)
}
