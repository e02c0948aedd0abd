package qemu

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/digitalocean/go-qemu/qmp"
	"github.com/digitalocean/go-qemu/qmp/raw"
)

var (
	// ErrUnresponsive says that QEMU holds its socket open but did not answer in time: it is stopped, frozen, or another
	// client occupies the socket.
	ErrUnresponsive = errors.New("QEMU does not answer")

	// ErrDisconnected says that the connection ended: QEMU exited, or Close was called.
	ErrDisconnected = errors.New("QEMU closed the connection")
)

// CommandError is QEMU's own refusal of a command.
type CommandError struct {
	Command string
	Class   string `json:"class"`
	Text    string `json:"desc"`
}

func (e *CommandError) Error() string { return "QEMU refused " + e.Command + ": " + e.Text }

// maxMessage bounds one message of QEMU; the largest that are known (query-qmp-schema) have about 200 KiB.
const maxMessage = 16 << 20

// callLimit ends calls whose context has no earlier deadline.
const callLimit = 10 * time.Second

// Monitor is one QMP connection. Its methods may be called concurrently.
type Monitor struct {
	Version qmp.Version // of the QEMU at the other end

	conn net.Conn

	write chan struct{} // one token: who holds it may write

	mu      sync.Mutex
	next    uint64
	pending map[string]chan message
	err     error // why the connection ended

	events *events
	ended  chan struct{} // closed when the reader has returned
}

// message is anything that QEMU sends.
type message struct {
	ID     json.RawMessage `json:"id"`
	Return json.RawMessage `json:"return"`
	Error  *CommandError   `json:"error"`
	Event  string          `json:"event"`

	line []byte
}

// read owns the receiving side of the connection until it ends.
func (m *Monitor) read(r *bufio.Reader) {
	defer close(m.ended)
	defer m.events.close()
	for {
		line, err := readLine(r)
		if err != nil {
			m.end(err)
			return
		}
		var msg message
		if json.Unmarshal(line, &msg) != nil {
			continue // not ours to repair; whoever waits for it has a deadline
		}
		msg.line = line
		if msg.Event != "" {
			m.events.add(line)
			continue
		}
		m.deliver(msg)
	}
}

func (m *Monitor) deliver(msg message) {
	var id string
	if json.Unmarshal(msg.ID, &id) != nil {
		return
	}
	m.mu.Lock()
	reply := m.pending[id] // a late reply finds nobody and is dropped
	delete(m.pending, id)
	m.mu.Unlock()
	if reply != nil {
		reply <- msg // buffered
	}
}

func (m *Monitor) end(cause error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = fmt.Errorf("%w (%w)", ErrDisconnected, cause)
	for id, reply := range m.pending {
		close(reply)
		delete(m.pending, id)
	}
}

// Close ends the connection; QEMU runs on. It may be called again.
func (m *Monitor) Close() error {
	err := m.conn.Close()
	<-m.ended
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Done is closed when the connection has ended, which usually means that QEMU has exited.
func (m *Monitor) Done() <-chan struct{} { return m.ended }

// Execute runs one QMP command. args may be nil; the reply is stored in out unless that is nil.
func (m *Monitor) Execute(ctx context.Context, command string, args, out any) error {
	return m.executeWith(ctx, nil, command, args, out)
}

// executeWith is Execute that hands QEMU an open file, which the caller keeps and closes, too.
func (m *Monitor) executeWith(ctx context.Context, file *os.File, command string, args, out any) error {
	msg, err := m.call(ctx, qmp.Command{Execute: command, Args: args}, file)
	if err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(msg.Return, out); err != nil {
		return fmt.Errorf("%s: reading QEMU's reply: %w", command, err)
	}
	return nil
}

// HMP runs a command of the human monitor and returns its text.
func (m *Monitor) HMP(ctx context.Context, line string) (string, error) {
	var text string
	err := m.Execute(ctx, "human-monitor-command", map[string]string{"command-line": line}, &text)
	return text, err
}

// Raw returns go-qemu's generated commands, each of them ended by ctx.
func (m *Monitor) Raw(ctx context.Context) *raw.Monitor { return raw.NewMonitor(adapter{m, ctx}) }

// call sends one command under an id of its own and waits for the reply to it.
func (m *Monitor) call(ctx context.Context, c qmp.Command, file *os.File) (message, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	id, reply, err := m.enlist()
	if err != nil {
		return message{}, err
	}
	defer m.forget(id)
	body, err := json.Marshal(struct {
		qmp.Command
		ID string `json:"id"`
	}{c, id})
	if err != nil {
		return message{}, err
	}
	if err := m.send(ctx, append(body, '\n'), file); err != nil {
		return message{}, err
	}
	select {
	case <-ctx.Done():
		return message{}, timedOut(ctx, ctx.Err())
	case msg, open := <-reply:
		switch {
		case !open:
			return message{}, m.cause()
		case msg.Error != nil:
			msg.Error.Command = c.Execute
			return msg, msg.Error
		}
		return msg, nil
	}
}

func (m *Monitor) enlist() (string, <-chan message, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return "", nil, m.err
	}
	m.next++
	id := strconv.FormatUint(m.next, 10)
	reply := make(chan message, 1)
	m.pending[id] = reply
	return id, reply, nil
}

func (m *Monitor) forget(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.pending, id)
}

func (m *Monitor) cause() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}

// send writes one command. A frozen QEMU lets the socket's buffer fill up, so writing has a deadline too; a command that was
// written in part leaves the stream useless, so the connection is closed then.
func (m *Monitor) send(ctx context.Context, line []byte, file *os.File) error {
	select {
	case m.write <- struct{}{}:
		defer func() { <-m.write }()
	case <-ctx.Done():
		return timedOut(ctx, ctx.Err())
	}
	deadline, _ := ctx.Deadline()
	m.conn.SetWriteDeadline(deadline)
	stop := context.AfterFunc(ctx, func() { m.conn.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	n, err := m.put(line, file)
	if err != nil && n > 0 {
		m.conn.Close()
	}
	if err != nil {
		return timedOut(ctx, err)
	}
	return nil
}

// put writes a line, with a file if there is one, which goes with the first byte (unix(7), SCM_RIGHTS).
func (m *Monitor) put(line []byte, file *os.File) (n int, err error) {
	if file != nil {
		socket, able := m.conn.(*net.UnixConn)
		if !able {
			return 0, errors.New("a file can be handed over on a unix socket only")
		}
		if n, _, err = socket.WriteMsgUnix(line, syscall.UnixRights(int(file.Fd())), nil); err != nil {
			return n, err
		}
	}
	rest, err := m.conn.Write(line[n:])
	return n + rest, err
}
