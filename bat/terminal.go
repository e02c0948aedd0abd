package bat

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"

	"github.com/creack/pty"

	"github.com/ciaocloud/ciao/cluster/client"
)

// Terminal is a run of the ciao program at a terminal, as a person has it.
type Terminal struct {
	t       *T
	person  *os.File
	command *exec.Cmd
	what    string
	ended   chan error

	mu      sync.Mutex
	printed bytes.Buffer
	news    chan struct{} // closed with each piece
}

// AtTerminal begins a run of the ciao program as Ciao does, at a terminal of so many rows and columns. The test ends it with End.
func (t *T) AtTerminal(ctx context.Context, tenant string, rows, columns int, args ...string) *Terminal {
	c := t.Cluster
	if c.Ciao == "" {
		t.Skipf("there is no ciao program beside this one or on PATH")
	}
	s := &Terminal{t: t, what: "ciao " + strings.Join(args, " "), ended: make(chan error, 1), news: make(chan struct{})}
	s.command = exec.CommandContext(ctx, c.Ciao, args...)
	s.command.Env = append(WithoutCiao(os.Environ()), client.EnvController+"="+c.Controller, client.EnvCA+"="+c.CA,
		client.EnvClientCert+"="+c.Access.Operator, client.EnvAdminCert+"="+c.Access.Operator, client.EnvTenant+"="+tenant)
	s.command.WaitDelay = killTime
	var err error
	s.person, err = pty.StartWithSize(s.command, &pty.Winsize{Rows: uint16(rows), Cols: uint16(columns)})
	t.Need(err, "run %s at a terminal", s.what)
	t.Logf("%s, at a terminal", s.what)
	go s.look()
	return s
}

// look reads what is printed until the program has ended.
func (s *Terminal) look() {
	_, _ = io.Copy(s, s.person) // it ends with an error of the terminal, which goes with the program
	s.ended <- s.command.Wait()
}

// Write takes what the program prints.
func (s *Terminal) Write(data []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.news)
	s.news = make(chan struct{})
	return s.printed.Write(data)
}

// Printed is all that the program has printed.
func (s *Terminal) Printed() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.printed.String()
}

// Until waits until the program has printed a text; the test ends if it does not.
func (s *Terminal) Until(ctx context.Context, text string) {
	for {
		s.mu.Lock()
		printed, news := s.printed.String(), s.news
		s.mu.Unlock()
		if strings.Contains(printed, text) {
			return
		}
		select {
		case <-news:
		case err := <-s.ended:
			s.ended <- err
			if printed = s.Printed(); !strings.Contains(printed, text) {
				s.t.Fatalf("%s ended (%v) and has not printed %q, but %q", s.what, err, text, printed)
			}
		case <-ctx.Done():
			s.t.Fatalf("%s has not printed %q in time, but %q", s.what, text, printed)
		}
	}
}

// Type presses keys.
func (s *Terminal) Type(keys string) {
	_, err := io.WriteString(s.person, keys)
	s.t.Need(err, "type at %s", s.what)
}

// Resize gives the terminal another size, as who drags the corner of its window does.
func (s *Terminal) Resize(rows, columns int) {
	s.t.Need(pty.Setsize(s.person, &pty.Winsize{Rows: uint16(rows), Cols: uint16(columns)}), "resize the terminal of %s", s.what)
}

// End waits for the end of the program and returns its exit code; the test ends if that does not come.
func (s *Terminal) End(ctx context.Context) (code int) {
	defer s.person.Close()
	select {
	case err := <-s.ended:
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			s.t.Fatalf("%s: %v", s.what, err)
		}
		return s.command.ProcessState.ExitCode()
	case <-ctx.Done():
		s.t.Fatalf("%s has not ended in time; it printed %q", s.what, s.Printed())
	}
	return -1
}
