// Package netns makes, finds, enters and removes network namespaces.
//
// A goroutine must never leave a thread in the wrong namespace for others to run on: what happens in a namespace happens on a thread
// of its own that is locked and dies with its goroutine.
package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/ciaocloud/ciao/cluster"
)

// Directory is where `ip netns` and everyone else looks for named namespaces.
const Directory = "/run/netns"

// Path is where the namespace of the given name is mounted.
func Path(name string) string { return filepath.Join(Directory, name) }

// Open opens the namespace at path; empty is the process's own.
func Open(path string) (*os.File, error) {
	if path == "" {
		path = "/proc/self/ns/net"
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the network namespace: %w", err)
	}
	var stat unix.Statfs_t
	if err := unix.Fstatfs(int(file.Fd()), &stat); err != nil || stat.Type != unix.NSFS_MAGIC {
		return nil, errors.Join(fmt.Errorf("%s is not a network namespace: %w", path, cluster.ErrConflict), file.Close())
	}
	return file, nil
}

// Inside runs f on a thread of its own in the namespace. What f starts (sockets, processes) stays there; goroutines that f starts
// run elsewhere. The thread is never used for anything else: it dies with the goroutine, because it stays locked.
func Inside(namespace *os.File, f func() error) error {
	var err error
	onThreadOfItsOwn(func() {
		if err = unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
			err = fmt.Errorf("enter the network namespace: %w", err)
			return
		}
		err = f()
	})
	return err
}

// onThreadOfItsOwn runs f on a thread that ends with it. That is never the process's first thread, which cannot be ended, and whose
// namespace is shown as the whole process's (/proc/PID/ns): while it is held here, the next goroutine gets another.
func onThreadOfItsOwn(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			onThreadOfItsOwn(f)
			runtime.UnlockOSThread()
			return
		}
		f()
	}()
	<-done
}

// Make makes a named namespace, or opens the one that is there. It gets its name after prepare has run inside it, so that
// nobody ever finds it half-made.
func Make(name string, prepare func(namespace *os.File) error) (*os.File, error) {
	path := Path(name)
	if file, err := Open(path); err == nil {
		return file, nil
	}
	file, err := New()
	if err != nil {
		return nil, err
	}
	if err := prepare(file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	err = place(func() error { return errors.Join(ready(), mount(file, path)) })
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// New makes a namespace that nothing but the returned file holds.
func New() (*os.File, error) {
	var file *os.File
	var err error
	onThreadOfItsOwn(func() {
		if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
			err = fmt.Errorf("make a network namespace (are you root?): %w", err)
			return
		}
		file, err = os.Open("/proc/thread-self/ns/net")
	})
	return file, err
}

func mount(file *os.File, path string) error {
	target, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE, 0)
	if err != nil {
		return fmt.Errorf("name the network namespace: %w", err)
	}
	if err := target.Close(); err != nil {
		return fmt.Errorf("name the network namespace: %w", err)
	}
	source := fmt.Sprintf("/proc/self/fd/%d", file.Fd())
	if err := unix.Mount(source, path, "none", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("name the network namespace %s: %w", path, err)
	}
	return nil
}

// Remove takes a namespace's name away; it goes when nobody is in it any more.
func Remove(name string) error {
	return place(func() error {
		path := Path(name)
		if err := unmount(path); err != nil {
			return err
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the network namespace: %w", err)
		}
		return vacate()
	})
}

// unmount takes every mount from a path: there may be two after a crash between two makers.
func unmount(path string) error {
	for {
		if err := unix.Unmount(path, unix.MNT_DETACH); errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			return nil
		} else if err != nil {
			return fmt.Errorf("unmount %s: %w", path, err)
		}
	}
}

// Same reports whether path names the namespace.
func Same(file *os.File, path string) bool {
	have, err := file.Stat()
	if err != nil {
		return false
	}
	now, err := os.Stat(path)
	return err == nil && os.SameFile(have, now)
}
