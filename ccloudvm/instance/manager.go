package instance

import (
	"context"
	"fmt"
	"log/slog"
	"os/exec"
	"time"

	"github.com/ciaocloud/ciao/ccloudvm"
	"github.com/ciaocloud/ciao/ccloudvm/image"
	"github.com/ciaocloud/ciao/ccloudvm/qemu"
	"github.com/ciaocloud/ciao/ccloudvm/workload"
)

// Manager manages the instances of one user. It has no state of its own: any number of them, in any number of processes, may work
// on one Layout.
type Manager struct {
	Layout    Layout
	Workloads workload.Finder
	Caller    Caller
	Images    Images
	Prober    qemu.Prober

	// Supervise returns the command that runs Supervise(ctx, layout, name, id) in a process of its own; Manager starts it detached.
	Supervise func(name, id string) *exec.Cmd

	Log *slog.Logger
}

// Images is where base images come from; *image.Store is one.
type Images interface {
	Ensure(ctx context.Context, r image.Request, report image.Report) (image.Image, error)
	Fetch(ctx context.Context, src image.Source, report image.Report) (image.Image, error)
	Tiny(ctx context.Context, report image.Report) (image.Image, error)
}

// EventKind is the kind of an Event.
type EventKind int

// What can be reported about long work.
const (
	PhaseBegins EventKind = iota // a part of the work that ends with the next one
	PhaseNote                    // the newest thing to say about the phase: how far it is
	TaskBegins                   // a task of the workload, in the guest
	TaskSucceeded
	TaskFailed
	Message // a line for the user
)

// Event is a report about long work.
type Event struct {
	Kind EventKind
	Text string
	Time time.Time
}

// Report receives events, from one goroutine at a time. It must not block.
type Report func(Event)

func (r Report) say(kind EventKind, format string, args ...any) {
	if r != nil {
		r(Event{Kind: kind, Text: fmt.Sprintf(format, args...), Time: time.Now()})
	}
}

func hostError(what string, err error) error {
	return &ccloudvm.Error{Class: ccloudvm.ErrHost, Text: what + ": " + err.Error(), Cause: err}
}

func guestError(cause error, format string, args ...any) error {
	return &ccloudvm.Error{Class: ccloudvm.ErrGuest, Text: fmt.Sprintf(format, args...), Cause: cause}
}

func timeoutError(format string, args ...any) error {
	return &ccloudvm.Error{Class: ccloudvm.ErrTimeout, Text: fmt.Sprintf(format, args...)}
}
