package drivertest

import (
	"bytes"
	"strings"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
)

// execute: a command has its input, its two outputs and its exit code, on a terminal, too; an instance that does not run executes none.
func execute(s *suite) {
	executor, ok := s.Driver.(driver.Executor)
	if !s.Shell || !ok {
		return
	}
	instance := s.instance()
	s.create(instance)
	_, err := executor.Exec(s.ctx, instance.ID, execution("true"))
	s.refused("execute before the start", err, cluster.ErrConflict)
	s.start(instance)

	var out, errs bytes.Buffer
	e := execution("cat; echo bad >&2; exit 7")
	e.Stdin, e.Stdout, e.Stderr = strings.NewReader("given\n"), &out, &errs
	code, err := executor.Exec(s.ctx, instance.ID, e)
	if err != nil || code != 7 || out.String() != "given\n" || errs.String() != "bad\n" {
		s.Errorf("executed: code %d, output %q, errors %q, %v", code, out.String(), errs.String(), err)
	}

	out.Reset()
	e = execution("tty && exit 3")
	e.TTY, e.Stdout, e.Size = true, &out, cluster.TerminalSize{Width: 100, Height: 30}
	code, err = executor.Exec(s.ctx, instance.ID, e)
	if err != nil || code != 3 || !strings.HasPrefix(out.String(), "/dev/") {
		s.Errorf("on a terminal: code %d, output %q, %v", code, out.String(), err)
	}

	_, err = executor.Exec(s.ctx, "99999999-9999-4999-8999-999999999999", execution("true"))
	s.refused("execute in an unknown instance", err, cluster.ErrNotFound)
}

// execution is a script whose output nobody reads.
func execution(script string) driver.Execution {
	return driver.Execution{Command: []string{"/bin/sh", "-c", script}, Stdout: new(bytes.Buffer), Stderr: new(bytes.Buffer)}
}
