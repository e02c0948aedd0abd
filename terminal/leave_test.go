package terminal_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/ciaocloud/ciao/terminal"
)

func TestLeaving(t *testing.T) {
	for keys, want := range map[string]struct {
		passed string
		err    error
	}{
		"":                     {"", nil},
		"ls\r":                 {"ls\r", nil},
		"\x1d":                 {"", terminal.ErrLeave},
		"ls\r\x03\x1dnot this": {"ls\r\x03", terminal.ErrLeave},
	} {
		for how, reader := range map[string]io.Reader{"at once": strings.NewReader(keys), "key by key": iotest.OneByteReader(strings.NewReader(keys))} {
			passed, err := io.ReadAll(terminal.Leaving(reader))
			if string(passed) != want.passed || !errors.Is(err, want.err) {
				t.Errorf("%q %s: passed on %q, %v", keys, how, passed, err)
			}
		}
	}
}

func TestAttended(t *testing.T) {
	_, program := pseudoTerminal(t)
	for want, streams := range map[bool]terminal.Streams{
		true:  {In: program, Out: program},
		false: {In: strings.NewReader(""), Out: program},
	} {
		if got := terminal.Attended(streams); got != want {
			t.Errorf("%t, want %t", got, want)
		}
	}
}
