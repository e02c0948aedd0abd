package instance

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ciaocloud/ciao/ccloudvm"
	"github.com/ciaocloud/ciao/ccloudvm/guest"
	"github.com/ciaocloud/ciao/ccloudvm/qemu"
)

// TestProvisioning follows guests that are nothing but files.
func TestProvisioning(t *testing.T) {
	report := func(word guest.Word, text string) guest.Report {
		return guest.Report{Word: word, Text: text, At: time.Unix(1, 0)}
	}
	tests := []struct {
		name    string
		reports []guest.Report
		run     Run
		timeout time.Duration
		class   error
		want    string // part of the error
		events  []string
	}{
		{"all is well", []guest.Report{report("message", "@cloud-init"), report("task", "one"), report("ok", ""), report("message", "hello"), report("finished", "")},
			Run{}, 0, nil, "", []string{"phase cloud-init", "begin one", "ok one", "say hello"}},
		{"a task failed", []guest.Report{report("task", "one"), report("fail", ""), report("task", "two"), report("ok", ""), report("finished", "")},
			Run{}, 0, ccloudvm.ErrGuest, "tasks failed: one", []string{"begin one", "FAIL one", "begin two", "ok two"}},
		{"panic", nil, Run{Broken: "Kernel panic - not syncing"}, 0, ccloudvm.ErrGuest, "Kernel panic", nil},
		{"QEMU ended", nil, Run{Ended: time.Unix(1, 0), How: "killed"}, 0, ccloudvm.ErrGuest, "killed", nil},
		{"disk full", nil, Run{Warning: "the host's disk is full"}, 0, ccloudvm.ErrHost, "full", nil},
		{"never answers", nil, Run{}, 0, ccloudvm.ErrTimeout, "did not answer within 30s", nil},
		{"never finishes", []guest.Report{report("task", "Install everything")}, Run{}, 0, ccloudvm.ErrTimeout, `the last it said was "Install everything"`, []string{"begin Install everything"}},
		{"the user's limit", []guest.Report{report("task", "one")}, Run{}, time.Minute, ccloudvm.ErrTimeout, "--timeout", []string{"begin one"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := &Manager{Layout: Layout{State: t.TempDir()}}
			if err := os.MkdirAll(m.Layout.Dir("vm"), 0o700); err != nil {
				t.Fatal(err)
			}
			supervisor, err := acquire(m.Layout.file("vm", supervisorLockFile), "")
			if err != nil {
				t.Fatal(err)
			}
			defer supervisor.release()
			tt.run.ID, tt.run.Accelerator = "1", qemu.Accelerator{Kind: qemu.KVM}
			if err := writeJSON(m.Layout.file("vm", runFile), tt.run); err != nil {
				t.Fatal(err)
			}
			var lines []byte
			for _, r := range tt.reports {
				b, err := json.Marshal(r)
				if err != nil {
					t.Fatal(err)
				}
				lines = append(append(lines, b...), '\n')
			}
			if err := os.WriteFile(m.Layout.file("vm", eventsFile), lines, 0o600); err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				if tt.timeout > 0 {
					limited, cancel := context.WithTimeout(ctx, tt.timeout)
					defer cancel()
					ctx = limited
				}
				var events []string
				p := &provisioning{manager: m, name: "vm", run: tt.run, report: func(e Event) {
					events = append(events, map[EventKind]string{PhaseBegins: "phase ", TaskBegins: "begin ", TaskSucceeded: "ok ", TaskFailed: "FAIL ", Message: "say "}[e.Kind]+e.Text)
				}}
				err := p.follow(ctx)
				if !errors.Is(err, tt.class) || (err != nil && !strings.Contains(err.Error(), tt.want)) {
					t.Errorf("follow = %v; want class %v and %q", err, tt.class, tt.want)
				}
				if diff := cmp.Diff(tt.events, events); diff != "" {
					t.Errorf("events (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestPhases(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	var p phases
	p.pass(Event{Kind: PhaseBegins, Text: "image", Time: at(1)})
	p.pass(Event{Kind: PhaseNote, Text: "x", Time: at(2)})
	p.pass(Event{Kind: PhaseBegins, Text: "boot", Time: at(4)})
	p.endAt(at(10))
	want := []ccloudvm.Phase{{Name: "image", Duration: 3 * time.Second}, {Name: "boot", Duration: 6 * time.Second}}
	if diff := cmp.Diff(want, p.list); diff != "" {
		t.Errorf("phases (-want +got):\n%s", diff)
	}
}
