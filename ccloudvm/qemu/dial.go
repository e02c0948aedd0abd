package qemu

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/digitalocean/go-qemu/qmp"
)

// Dial connects to the QMP socket at path and takes part in the handshake. It gives up with [ErrUnresponsive] when ctx, or ten
// seconds, pass without an answer.
func Dial(ctx context.Context, path string) (*Monitor, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("connecting to QEMU: %w", err)
	}
	m := &Monitor{
		conn: conn, write: make(chan struct{}, 1), pending: make(map[string]chan message),
		events: newEvents(), ended: make(chan struct{}),
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	reader := bufio.NewReader(conn)
	err = m.greet(reader)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("greeting QEMU at %s: %w", path, timedOut(ctx, err))
	}
	go m.read(reader)
	return m, nil
}

// greet reads the banner and negotiates capabilities, before the reader runs.
func (m *Monitor) greet(r *bufio.Reader) error {
	line, err := readLine(r)
	if err != nil {
		return err
	}
	var banner struct {
		QMP *struct {
			Version qmp.Version `json:"version"`
		}
	}
	if err := json.Unmarshal(line, &banner); err != nil || banner.QMP == nil {
		return errors.New("this is not a QMP socket")
	}
	m.Version = banner.QMP.Version
	if _, err := m.conn.Write([]byte(`{"execute":"qmp_capabilities","id":"0"}` + "\n")); err != nil {
		return err
	}
	for {
		line, err := readLine(r)
		if err != nil {
			return err
		}
		var reply message
		if json.Unmarshal(line, &reply) != nil || string(reply.ID) != `"0"` {
			continue // an event, or the answer to somebody before us
		}
		if reply.Error != nil {
			reply.Error.Command = "qmp_capabilities"
			return reply.Error
		}
		if reply.Return != nil {
			return nil
		}
	}
}

// timedOut tells silence from the caller's own change of mind.
func timedOut(ctx context.Context, err error) error {
	var n net.Error
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return context.Cause(ctx)
	case errors.Is(ctx.Err(), context.DeadlineExceeded), errors.As(err, &n) && n.Timeout():
		return ErrUnresponsive
	}
	return err
}

// readLine reads one message. The result is the caller's to keep.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > maxMessage {
			return nil, fmt.Errorf("a message of more than %d MiB", maxMessage>>20)
		}
		line = append(line, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}
