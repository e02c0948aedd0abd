package vmtest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// FakeQEMU is a QMP server that behaves as told. Its zero value answers like a healthy QEMU with a running guest; the fields must
// be set before [FakeQEMU.Listen].
type FakeQEMU struct {
	Mute       bool // accepts connections and says nothing at all
	Freeze     bool // greets, then answers nothing, like a QEMU that got SIGSTOP
	ReplyBytes int  // size of the reply to "query-block"
	Storm      int  // events sent ahead of every reply
	Deaf       bool // does not react to the power button
	Garbage    bool // sends a broken line and a stranger's reply ahead of every reply

	mu       sync.Mutex
	received chan string
	off      bool
	wait     sync.WaitGroup
	conns    map[net.Conn]struct{}
}

// Listen serves on a socket of the test's own and returns its path.
func (f *FakeQEMU) Listen(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "qmp")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	f.conns, f.received = make(map[net.Conn]struct{}), make(chan string, 1000)
	f.wait.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f.mu.Lock()
			f.conns[c] = struct{}{}
			f.mu.Unlock()
			f.wait.Go(func() { f.serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		f.Disconnect()
		f.wait.Wait()
	})
	return path
}

// Disconnect closes all connections, as a QEMU does that dies.
func (f *FakeQEMU) Disconnect() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.conns {
		c.Close()
	}
}

// Await waits until a command has come; those before it are forgotten.
func (f *FakeQEMU) Await(t testing.TB, command string) {
	t.Helper()
	limit := time.After(30 * time.Second)
	for {
		select {
		case c := <-f.received:
			if c == command {
				return
			}
		case <-limit:
			t.Fatalf("the command %s never came", command)
		}
	}
}

func (f *FakeQEMU) serve(c net.Conn) {
	defer c.Close()
	if f.Mute {
		io.Copy(io.Discard, c)
		return
	}
	fmt.Fprintln(c, `{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "fake"}, "capabilities": ["oob"]}}`)
	lines := bufio.NewScanner(c)
	for lines.Scan() {
		var cmd struct {
			Execute string
			ID      json.RawMessage
		}
		if json.Unmarshal(lines.Bytes(), &cmd) != nil {
			return
		}
		select {
		case f.received <- cmd.Execute:
		default: // nobody counts so far
		}
		if f.Freeze && cmd.Execute != "qmp_capabilities" {
			continue
		}
		if !f.answer(c, cmd.Execute, cmd.ID) {
			return
		}
	}
}

// answer replies to one command and tells whether the connection lives on.
func (f *FakeQEMU) answer(c net.Conn, command string, id json.RawMessage) bool {
	if f.Garbage {
		fmt.Fprintf(c, "garbage\n{\"return\": \"not yours\", \"id\": \"x\"}\n")
	}
	for i := range f.Storm {
		event(c, "RTC_CHANGE", fmt.Sprintf(`{"offset": %d}`, i))
	}
	reply := "{}"
	switch command {
	case "query-status":
		reply = `{"status": "running", "running": true}`
		if f.isOff() {
			reply = `{"status": "shutdown", "running": false}`
		}
	case "query-version":
		reply = `{"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": ""}`
	case "query-block":
		reply = `"` + strings.Repeat("x", f.ReplyBytes) + `"`
	case "fail":
		fmt.Fprintf(c, `{"id": %s, "error": {"class": "GenericError", "desc": "it will not do"}}`+"\n", id)
		return true
	}
	fmt.Fprintf(c, `{"id": %s, "return": %s}`+"\n", id, reply)
	if command == "system_powerdown" && !f.Deaf {
		f.mu.Lock()
		f.off = true
		f.mu.Unlock()
		event(c, "POWERDOWN", `{}`)
		event(c, "SHUTDOWN", `{"guest": true, "reason": "guest-shutdown"}`)
	}
	return command != "quit"
}

func (f *FakeQEMU) isOff() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.off
}

func event(w io.Writer, name, data string) {
	fmt.Fprintf(w, `{"timestamp": {"seconds": 1700000000, "microseconds": 5}, "event": %q, "data": %s}`+"\n", name, data)
}
