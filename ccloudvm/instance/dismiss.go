package instance

import (
	"context"
	"os"
	"regexp"
	"strconv"
	"syscall"

	"github.com/ciaocloud/ciao/ccloudvm/qemu"
)

// socket is the path of one of the instance's sockets.
func (m *Manager) socket(name, which string) string {
	dir, err := qemu.SocketDir(m.Layout.Dir(name))
	if err != nil {
		return ""
	}
	return dir + "/" + which
}

var processInNote = regexp.MustCompile(`\(process ([0-9]+)\)`)

// dismiss ends a supervisor that did not end with its QEMU: one that hangs, or is about to start another one. Its pid is in its lock, and
// as long as the lock is held the pid is its own.
func (m *Manager) dismiss(ctx context.Context, name string) {
	path := m.Layout.file(name, supervisorLockFile)
	if !held(path) {
		return
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return
	}
	found := processInNote.FindSubmatch(b)
	if found == nil {
		return
	}
	pid, err := strconv.Atoi(string(found[1]))
	if err != nil || !held(path) {
		return
	}
	syscall.Kill(pid, syscall.SIGKILL)
	for held(path) && pause(ctx, pollEvery/5) {
	}
	// It may have started a QEMU in its last moments.
	m.halt(ctx, name, qemu.Limits{Quit: quitLimit})
}
