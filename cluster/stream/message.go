package stream

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/ciaocloud/ciao/cluster"
)

// Channel says what a message carries.
type Channel byte

// Channels.
const (
	Input   Channel = iota // user → node: input of the command; a message without data ends it
	Output                 // node → user
	Errors                 // node → user: the error output
	Resized                // user → node: the terminal's width and height, two bytes each, big-endian
	Taken                  // node → user: that many bytes of input were taken, four bytes, big-endian; as many more may be sent
	Ended                  // node → user: a Result as JSON; nothing follows it
)

// Bounds of a stream, in bytes.
const (
	MaxData = 32 << 10  // of one message
	Window  = 128 << 10 // of input that was sent and not taken
)

// Message is one message of a stream.
type Message struct {
	Channel Channel
	Data    []byte // MaxData at most
}

// ErrLeft is of class cluster.ErrUnavailable: the other side of a connection is not there any more.
var ErrLeft = fmt.Errorf("%w: the other side left the stream", cluster.ErrUnavailable)

// Conn carries messages between two parties. One goroutine at a time reads; many may write and close.
type Conn interface {
	// Read waits for a message. Its error is ErrLeft when the other side left. The end of ctx ends the
	// connection, too.
	Read(ctx context.Context) (Message, error)
	// Write waits until there is room for a message.
	Write(ctx context.Context, m Message) error
	// Close ends the connection when the other side has what was written, or after a few seconds.
	Close()
}

// Result is how a stream ended.
type Result struct {
	ExitCode int    `json:"exit_code"`
	Class    string `json:"class,omitempty"`  // of the error, in the words of package cluster; empty is none
	Detail   string `json:"detail,omitempty"` // of the error: a sentence for the user
}

// maxDetail bounds the text of an error, in bytes.
const maxDetail = 2000

// resultOf tells an error by its class and its words. One without a class is taken for a part that does not work.
func resultOf(code int, err error) Result {
	if err == nil {
		return Result{ExitCode: code}
	}
	class := cluster.ErrUnavailable
	for _, c := range cluster.Classes() {
		if errors.Is(err, c) {
			class = c
			break
		}
	}
	detail := strings.TrimPrefix(err.Error(), class.Error()+": ") // the class is told beside it
	return Result{Class: class.Error(), Detail: strings.ToValidUTF8(detail[:min(len(detail), maxDetail)], "")}
}

// Err is the error that the other side had, of its class; nil is none.
func (r Result) Err() error {
	if r.Class == "" {
		return nil
	}
	for _, class := range cluster.Classes() {
		if class.Error() == r.Class {
			return told{class, r.Detail}
		}
	}
	return told{cluster.ErrUnavailable, r.Detail}
}

// told is an error in the words of the other side, which name the class already.
type told struct {
	class error
	words string
}

func (e told) Error() string { return e.words }
func (e told) Unwrap() error { return e.class }

func (r Result) message() (Message, error) {
	data, err := json.Marshal(r)
	return Message{Ended, data}, err
}

// ResultIn reads the last message of a stream.
func ResultIn(m Message) (Result, error) {
	var result Result
	if err := json.Unmarshal(m.Data, &result); err != nil {
		return result, fmt.Errorf("%w: the node did not say how the stream ended: %w", cluster.ErrUnavailable, err)
	}
	return result, nil
}

func resizedTo(size cluster.TerminalSize) Message {
	data := binary.BigEndian.AppendUint16(nil, uint16(size.Width))
	return Message{Resized, binary.BigEndian.AppendUint16(data, uint16(size.Height))}
}

func sizeIn(m Message) (cluster.TerminalSize, error) {
	if len(m.Data) != 4 {
		return cluster.TerminalSize{}, fmt.Errorf("%w: a size of a terminal has %d bytes, not 4", cluster.ErrInvalid, len(m.Data))
	}
	return cluster.TerminalSize{Width: int(binary.BigEndian.Uint16(m.Data)), Height: int(binary.BigEndian.Uint16(m.Data[2:]))}, nil
}

func taken(n int) Message { return Message{Taken, binary.BigEndian.AppendUint32(nil, uint32(n))} }

func takenIn(m Message) (int, error) {
	if len(m.Data) != 4 {
		return 0, fmt.Errorf("%w: a count of input has %d bytes, not 4", cluster.ErrInvalid, len(m.Data))
	}
	return int(binary.BigEndian.Uint32(m.Data)), nil
}

func strange(m Message) error {
	return fmt.Errorf("%w: a message of channel %d does not belong here: are the programs of versions that fit each other?", cluster.ErrInvalid, m.Channel)
}
