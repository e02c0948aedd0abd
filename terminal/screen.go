package terminal

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"
)

// Screen is the terminal of this process while something elsewhere uses it.
type Screen struct {
	out   *os.File
	in    *os.File
	state *term.State
}

// OpenScreen takes the terminal that the streams write to; with keys every key is passed on as it is, Ctrl-C too, until Close.
func OpenScreen(streams Streams, keys bool) (*Screen, error) {
	out, ok := streams.Out.(*os.File)
	if !ok || !term.IsTerminal(int(out.Fd())) {
		return nil, Usage("standard output is not a terminal: leave --tty away")
	}
	s := &Screen{out: out}
	in, ok := streams.In.(*os.File)
	if !keys || !ok || !term.IsTerminal(int(in.Fd())) {
		return s, nil
	}
	state, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return nil, fmt.Errorf("pass the terminal's keys on: %w", err)
	}
	s.in, s.state = in, state
	return s, nil
}

// Close gives the keys back.
func (s *Screen) Close() {
	if s.state != nil {
		_ = term.Restore(int(s.in.Fd()), s.state) // a terminal that went away needs no keys
	}
}

// Size is the present one, in characters; zero is not known.
func (s *Screen) Size() (width, height int) {
	width, height, err := term.GetSize(int(s.out.Fd()))
	if err != nil {
		return 0, 0
	}
	return width, height
}

// Follow calls changed with the present size, which may be a new one since somebody asked for it, and with each new one until ctx ends.
func (s *Screen) Follow(ctx context.Context, changed func(width, height int)) {
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	defer signal.Stop(resized)
	changed(s.Size())
	for {
		select {
		case <-resized:
			changed(s.Size())
		case <-ctx.Done():
			return
		}
	}
}
