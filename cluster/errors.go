package cluster

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
)

// Classes of errors. Code wraps one with context (fmt.Errorf("…: %w", …)); the borders (HTTP, CLI) translate a class once.
var (
	ErrInvalid     = errors.New("invalid")           // the request can never succeed as it is
	ErrNotFound    = errors.New("not found")         // no such thing, or not the caller's to see
	ErrExists      = errors.New("already exists")    // the name or id is taken
	ErrConflict    = errors.New("conflict")          // the thing's state does not allow it now, or it changed meanwhile
	ErrPermission  = errors.New("not permitted")     // the caller's certificate does not allow it
	ErrOverQuota   = errors.New("over quota")        // the tenant's quota does not allow it
	ErrNoCapacity  = errors.New("no capacity")       // no node can take it now
	ErrTooLarge    = errors.New("too large")         // beyond a documented bound
	ErrUnavailable = errors.New("unavailable")       // a part that is needed does not answer; trying again may help
	ErrTimeout     = errors.New("deadline exceeded") // a deadline passed; the state says how far it got
)

// Classes lists all classes in the order that decides when an error is of several: the first one counts.
func Classes() []error {
	return []error{
		ErrOverQuota, ErrPermission, ErrNotFound, ErrExists, ErrTooLarge, ErrInvalid, ErrNoCapacity, ErrConflict, ErrTimeout, ErrUnavailable,
	}
}

// DiskFull says what to do about an error of writing to a directory where there is no space, instead of which write met that; other errors
// stay as they are.
func DiskFull(directory string, err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: the disk of %s is full: free some space there", ErrUnavailable, directory)
	}
	return err
}

// A FieldError is one problem of one field of a user's document.
type FieldError struct {
	Path    string // for example requirements.memory_mib
	Problem string // for example must be at least 4
}

func (e FieldError) Error() string { return e.Path + ": " + e.Problem }

// Problems collects field errors; the zero value is ready.
type Problems []FieldError

// Add notes one problem.
func (p *Problems) Add(path, format string, args ...any) {
	*p = append(*p, FieldError{Path: path, Problem: fmt.Sprintf(format, args...)})
}

// Err is nil without problems; otherwise an error of class ErrInvalid that lists all of them.
func (p Problems) Err() error {
	if len(p) == 0 {
		return nil
	}
	return p
}

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, problem := range p {
		lines[i] = problem.Error()
	}
	return strings.Join(lines, "; ")
}

// Is makes Problems of class ErrInvalid.
func (p Problems) Is(target error) bool { return target == ErrInvalid }
