package terminal

import (
	"bytes"
	"errors"
	"io"
	"os"

	"golang.org/x/term"
)

// LeaveKey is Ctrl-], as of telnet(1) and virsh(1): no program that lives at a serial console needs it.
const LeaveKey = 0x1d

// ErrLeave says that the person at the keys wants to leave.
var ErrLeave = errors.New("the key to leave was pressed")

// Leaving passes on what is read of keys, until LeaveKey comes: then the error is ErrLeave.
func Leaving(keys io.Reader) io.Reader { return &leaving{keys: keys} }

type leaving struct {
	keys io.Reader
	left bool
}

// Read implements io.Reader. What was typed before the key in the same read is passed on first.
func (l *leaving) Read(p []byte) (int, error) {
	if l.left {
		return 0, ErrLeave
	}
	n, err := l.keys.Read(p)
	if at := bytes.IndexByte(p[:n], LeaveKey); at >= 0 {
		l.left = true
		if at > 0 {
			return at, nil
		}
		return 0, ErrLeave
	}
	return n, err
}

// Attended says that a person is at both ends: the keys and the screen.
func Attended(streams Streams) bool {
	keys, ok := streams.In.(*os.File)
	return ok && term.IsTerminal(int(keys.Fd())) && Interactive(streams.Out)
}
