package drivertest

import (
	"bytes"
	"context"
	"io"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
)

// console: what is typed arrives and what is printed comes, for one user at a time, until another takes over, the user leaves or the
// instance ends; whoever comes next has it.
func console(s *suite) {
	consoler, ok := s.Driver.(driver.Consoler)
	if s.Echo == nil || !ok {
		return
	}
	instance := s.Echo(s.instance())
	s.create(instance)
	nobody := driver.Seat{Input: bytes.NewReader(nil), Output: io.Discard}
	s.refused("a console before the start", consoler.Console(s.ctx, instance.ID, nobody), cluster.ErrConflict)
	s.refused("an unknown instance's console", consoler.Console(s.ctx, "99999999-9999-4999-8999-999999999999", nobody), cluster.ErrNotFound)
	s.start(instance)

	first := s.sit(s.ctx, consoler, instance, false)
	first.echoes()
	s.refused("a second user", consoler.Console(s.ctx, instance.ID, nobody), cluster.ErrConflict)
	first.echoes()
	ctx, leave := context.WithCancel(s.ctx)
	second := s.sit(ctx, consoler, instance, true)
	s.refused("the first, whose console is taken over", <-first.ended, cluster.ErrConflict)
	second.echoes()
	leave()
	s.refused("the second, who leaves", <-second.ended, context.Canceled)
	last := s.sit(s.ctx, consoler, instance, false)
	last.echoes()
	last.typed.Close() // the end of what is typed is no end
	if err := s.Driver.Stop(s.ctx, instance.ID, 0); err != nil {
		s.Fatal(err)
	}
	if err := <-last.ended; err != nil {
		s.Errorf("the end of the instance: %v", err)
	}
}

// seated is a user at a console.
type seated struct {
	*suite
	typed   *io.PipeWriter
	printed *io.PipeReader
	ended   chan error
}

func (s *suite) sit(ctx context.Context, consoler driver.Consoler, instance driver.Instance, takeover bool) seated {
	input, typed := io.Pipe()
	printed, output := io.Pipe()
	u := seated{s, typed, printed, make(chan error, 1)}
	s.Cleanup(func() { typed.Close(); printed.Close() })
	go func() {
		err := consoler.Console(ctx, instance.ID, driver.Seat{Takeover: takeover, Input: input, Output: output})
		output.Close()
		u.ended <- err
	}()
	return u
}

// echoes types a key and waits until it comes back.
func (u seated) echoes() {
	u.Helper()
	const word = "7"
	if _, err := io.WriteString(u.typed, word); err != nil {
		u.Fatal(err)
	}
	one := make([]byte, 1)
	for one[0] != word[0] { // the instance may say something of its own
		if _, err := u.printed.Read(one); err != nil {
			u.Fatalf("what was typed does not come back: %v (%v)", err, <-u.ended)
		}
	}
}
