package instance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/ciaocloud/ciao/ccloudvm"
)

// lock is a held flock. It ends with the process, however the process ends.
type lock struct{ file *os.File }

// errLocked says that somebody else holds the lock.
var errLocked = errors.New("locked")

// acquire takes the lock at path without waiting, and leaves the note in it for whoever is refused.
func acquire(path, note string) (*lock, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_CLOEXEC, 0o600)
		if err != nil {
			return nil, err
		}
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			holder, _ := io.ReadAll(io.LimitReader(f, 200))
			f.Close()
			if errors.Is(err, syscall.EWOULDBLOCK) {
				return nil, fmt.Errorf("%w by %s", errLocked, strings.TrimSpace(string(holder)))
			}
			return nil, err
		}
		if !sameFile(f, path) { // it was removed by its last holder between our open and our lock
			f.Close()
			continue
		}
		f.Truncate(0)
		f.WriteAt([]byte(note), 0)
		return &lock{f}, nil
	}
}

func sameFile(f *os.File, path string) bool {
	ours, err := f.Stat()
	if err != nil {
		return false
	}
	theirs, err := os.Stat(path)
	return err == nil && os.SameFile(ours, theirs)
}

// await takes the lock as soon as it is free.
func await(ctx context.Context, path, note string, limit time.Duration) (*lock, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		l, err := acquire(path, note)
		if !errors.Is(err, errLocked) {
			return l, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, err
		}
	}
}

// held tells whether somebody holds the lock at path.
func held(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); err != nil {
		return errors.Is(err, syscall.EWOULDBLOCK)
	}
	return false
}

func (l *lock) release() { l.file.Close() }

// releaseAndRemove leaves no file. Whoever waits for the removed one notices (sameFile).
func (l *lock) releaseAndRemove() {
	os.Remove(l.file.Name())
	l.file.Close()
}

// lockWait is how long a command waits for another one to finish with the same instance.
const lockWait = 3 * time.Second

// hold takes the instance's lock for a command.
func (m *Manager) hold(ctx context.Context, name, verb string) (*lock, error) {
	if err := m.Layout.prepare(); err != nil {
		return nil, hostError("the state directory cannot be made", err)
	}
	l, err := await(ctx, m.Layout.Dir(name)+lockSuffix, fmt.Sprintf("ccloudvm %s (process %d)", verb, os.Getpid()), lockWait)
	if errors.Is(err, errLocked) {
		return nil, &ccloudvm.Error{Class: ccloudvm.ErrState, Text: fmt.Sprintf("%s is %v: wait until that is done", name, err), Cause: err}
	}
	if err != nil {
		return nil, hostError("the lock of "+name+" cannot be taken", err)
	}
	return l, nil
}
