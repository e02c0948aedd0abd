package instance

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/ciaocloud/ciao/ccloudvm"
	"github.com/ciaocloud/ciao/ccloudvm/guest"
)

// Limits of a first boot with hardware virtualisation; emulation gets ten times as much.
const (
	bootLimit      = 30 * time.Second // until cloud-init speaks
	provisionLimit = 6 * time.Minute  // from there to the end of the workload's commands
	sshLimit       = 20 * time.Second // until the guest lets us in once it is set up
)

// provisioning follows the first boot of a guest.
type provisioning struct {
	manager *Manager
	name    string
	run     Run
	report  Report

	events  tail
	booted  bool
	task    string
	failed  []string // tasks that failed
	said    string   // the guest's newest report
	started time.Time
}

// follow passes on what the guest reports until it says that it is finished. Whatever ends the guest's chances ends the wait.
func (p *provisioning) follow(ctx context.Context) error {
	p.events = tail{path: p.manager.Layout.file(p.name, eventsFile)}
	p.started = time.Now()
	boot, whole := stretch(p.run.Accelerator, bootLimit), stretch(p.run.Accelerator, bootLimit+provisionLimit)
	for {
		if p.read() {
			return p.verdict()
		}
		if err := p.lost(); err != nil {
			return err
		}
		waited := time.Since(p.started)
		switch {
		case !p.booted && waited > boot:
			return timeoutError("the guest did not answer within %v of its start: look at `ccloudvm logs %s` (with --keep, which keeps the wreck)", boot, p.name)
		case waited > whole:
			return timeoutError("the guest was not ready within %v; the last it said was %q", whole, p.said)
		}
		if !pause(ctx, pollEvery) {
			return p.interrupted(ctx)
		}
	}
}

func (p *provisioning) interrupted(ctx context.Context) error {
	cause := context.Cause(ctx)
	if errors.Is(cause, context.DeadlineExceeded) {
		if p.said == "" {
			return timeoutError("the guest did not answer within the time that --timeout gave it")
		}
		return timeoutError("the guest was not ready within the time that --timeout gave it; the last it said was %q", p.said)
	}
	return cause
}

// read takes in new reports and tells whether the last one is there.
func (p *provisioning) read() (finished bool) {
	for _, line := range p.events.lines() {
		var r guest.Report
		if len(line) == 0 || json.Unmarshal(line, &r) != nil {
			continue
		}
		p.booted = true
		if r.Word == guest.Finished {
			return true
		}
		p.pass(r)
	}
	return false
}

func (p *provisioning) pass(r guest.Report) {
	say := func(kind EventKind, text string) {
		if p.report != nil {
			p.report(Event{Kind: kind, Text: text, Time: r.At})
		}
	}
	if r.Text != "" && !strings.HasPrefix(r.Text, phaseMark) {
		p.said = r.Text
	}
	switch r.Word {
	case guest.Task:
		p.task = r.Text
		say(TaskBegins, r.Text)
	case guest.OK:
		say(TaskSucceeded, p.task)
	case guest.Fail:
		p.failed = append(p.failed, p.task)
		say(TaskFailed, p.task)
	case guest.Message:
		if phase, ok := strings.CutPrefix(r.Text, phaseMark); ok {
			say(PhaseBegins, phase)
			return
		}
		say(Message, r.Text)
	}
}

// verdict is the result of a first boot that went to its end.
func (p *provisioning) verdict() error {
	if len(p.failed) == 0 {
		return nil
	}
	return guestError(nil, "of the workload's tasks failed: %s (look into the guest with --keep, and at `ccloudvm logs --cloud-init %s`)",
		strings.Join(p.failed, "; "), p.name)
}

// lost tells why the guest will not get ready, if that is known by now.
func (p *provisioning) lost() error {
	run, err := p.manager.Layout.run(p.name)
	if err != nil || run.ID != p.run.ID {
		return nil
	}
	switch {
	case run.Broken != "":
		return guestError(nil, "%s: look at `ccloudvm logs %s` (with --keep, which keeps the wreck)", run.Broken, p.name)
	case !run.Ended.IsZero():
		return guestError(nil, "the guest ended before it was ready: %s", run.How)
	case run.Warning != "":
		return &ccloudvm.Error{Class: ccloudvm.ErrHost, Text: run.Warning}
	case !held(p.manager.Layout.file(p.name, supervisorLockFile)):
		return guestError(nil, "the supervisor of %s was killed", p.name)
	}
	return nil
}
