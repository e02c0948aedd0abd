package terminal_test

import (
	"context"
	"errors"
	"os"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ciaocloud/ciao/terminal"
)

// pseudoTerminal makes a terminal and returns its two ends: that of who types and looks, and that of the program.
func pseudoTerminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(program.Close(), person.Close()); err != nil {
			t.Error(err)
		}
	})
	return person, program
}

func resize(t *testing.T, screen *os.File, width, height uint16) {
	t.Helper()
	if err := unix.IoctlSetWinsize(int(screen.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: height, Col: width}); err != nil {
		t.Fatal(err)
	}
}

// signals says whether Ctrl-C still makes a signal.
func signals(t *testing.T, program *os.File) bool {
	t.Helper()
	settings, err := unix.IoctlGetTermios(int(program.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return settings.Lflag&unix.ISIG != 0
}

func TestScreenPassesKeysOnUntilItIsClosed(t *testing.T) {
	person, program := pseudoTerminal(t)
	screen, err := terminal.OpenScreen(terminal.Streams{In: program, Out: program}, true)
	if err != nil {
		t.Fatal(err)
	}
	if signals(t, program) {
		t.Error("Ctrl-C would end this program")
	}
	if _, err := person.Write([]byte{3}); err != nil {
		t.Fatal(err)
	}
	key := make([]byte, 2)
	if n, err := program.Read(key); n != 1 || key[0] != 3 || err != nil {
		t.Errorf("read %v, %v, want the key at once", key[:n], err)
	}
	screen.Close()
	if !signals(t, program) {
		t.Error("Ctrl-C does nothing after the end")
	}
}

func TestScreenFollowsItsSize(t *testing.T) {
	person, program := pseudoTerminal(t)
	resize(t, person, 80, 24)
	screen, err := terminal.OpenScreen(terminal.Streams{In: program, Out: program}, false)
	if err != nil {
		t.Fatal(err)
	}
	defer screen.Close()
	if !signals(t, program) {
		t.Error("without keys Ctrl-C must go on to end this program")
	}
	if width, height := screen.Size(); width != 80 || height != 24 {
		t.Errorf("size %dx%d", width, height)
	}
	ctx, stop := context.WithCancel(t.Context())
	sizes, ended := make(chan [2]int, 1), make(chan struct{})
	go func() {
		defer close(ended)
		screen.Follow(ctx, func(width, height int) {
			select {
			case sizes <- [2]int{width, height}:
			default:
			}
		})
	}()
	resize(t, person, 300, 70)
	for got := [2]int{}; got != [2]int{300, 70}; { // the kernel tells only the terminal's own processes, which this is none of
		if err := syscall.Kill(os.Getpid(), syscall.SIGWINCH); err != nil {
			t.Fatal(err)
		}
		select {
		case got = <-sizes:
		default:
		}
	}
	stop()
	<-ended
}

func TestScreenNeedsATerminal(t *testing.T) {
	if _, err := terminal.OpenScreen(terminal.Streams{In: os.Stdin, Out: &discard{}}, true); err == nil {
		t.Error("there is none")
	}
}

type discard struct{}

func (*discard) Write(p []byte) (int, error) { return len(p), nil }
