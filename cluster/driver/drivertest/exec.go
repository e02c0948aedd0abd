package drivertest

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"

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

// executionLeft: a command that its caller leaves ends, on a terminal and without, also one that does not look at its input; others and the
// instance itself go on.
func executionLeft(s *suite) {
	executor, ok := s.Driver.(driver.Executor)
	if !s.Shell || !ok {
		return
	}
	instance := s.instance()
	s.create(instance)
	s.start(instance)
	for i, tty := range []bool{false, true} {
		ctx, leave := context.WithCancel(s.ctx)
		begun := &signalled{text: "begun", seen: make(chan struct{})}
		e := execution(fmt.Sprintf("echo begun; exec sleep 98765%d", i))
		e.TTY, e.Stdout = tty, begun
		ended := make(chan error, 1)
		go func() {
			_, err := executor.Exec(ctx, instance.ID, e)
			ended <- err
		}()
		select {
		case <-begun.seen:
		case err := <-ended:
			s.Fatalf("a command that was not left ended: %v", err)
		}
		leave()
		<-ended // with whatever its end is for the caller, who is gone
		var found bytes.Buffer
		e = execution(fmt.Sprintf(`cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\000' ' ' | grep '[s]leep 98765%d'`, i))
		e.Stdout = &found
		if code, err := executor.Exec(s.ctx, instance.ID, e); code != 1 || err != nil {
			s.Errorf("on a terminal: %t; after its caller left there is %q (code %d, %v)", tty, found.String(), code, err)
		}
	}
	if status, err := s.Driver.Status(s.ctx, instance.ID); err != nil || status.Condition != driver.Running {
		s.Errorf("the instance is %+v, %v", status, err)
	}
}

// signalled is an output in which a text is waited for.
type signalled struct {
	text string
	seen chan struct{}
	all  []byte
	once sync.Once
}

func (w *signalled) Write(data []byte) (int, error) {
	if w.all = append(w.all, data...); bytes.Contains(w.all, []byte(w.text)) {
		w.once.Do(func() { close(w.seen) })
	}
	return len(data), nil
}

// execution is a script whose output nobody reads.
func execution(script string) driver.Execution {
	return driver.Execution{Command: []string{"/bin/sh", "-c", script}, Stdout: new(bytes.Buffer), Stderr: new(bytes.Buffer)}
}
