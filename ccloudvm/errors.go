package ccloudvm

import "errors"

// The classes of errors. Every error that leaves this tree wraps exactly one of them or is an unexpected failure; the command turns
// the class into its exit code. Ask with errors.Is.
var (
	// ErrInvalid: what was asked cannot be meant: an unknown key, a wrong type, an impossible size, a broken cloud-config.
	ErrInvalid = errors.New("invalid")
	// ErrNotFound: no such instance, workload or image.
	ErrNotFound = errors.New("not found")
	// ErrExists: the name or the address is taken.
	ErrExists = errors.New("already exists")
	// ErrState: the instance is not in a state that allows this, or another command is working on it.
	ErrState = errors.New("not possible now")
	// ErrHost: this machine lacks something: a program, memory, disk space, a permission.
	ErrHost = errors.New("host not ready")
	// ErrTimeout: a deadline passed; the message says which and what was last seen.
	ErrTimeout = errors.New("timed out")
	// ErrGuest: the guest itself failed: a kernel panic, a cloud-init error, a task of the workload.
	ErrGuest = errors.New("guest failed")
)

// Error is a sentence for the user with the class it belongs to. The class is not repeated in the text.
type Error struct {
	Class error  // one of the sentinels above
	Text  string // one sentence that says what to do next
	Cause error  // what led to it, or nil; already part of Text when it helps the reader
}

func (e *Error) Error() string { return e.Text }

// Unwrap makes errors.Is find the class and the cause.
func (e *Error) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Class}
	}
	return []error{e.Class, e.Cause}
}
