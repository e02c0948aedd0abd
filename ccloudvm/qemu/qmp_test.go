package qemu_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/ccloudvm/qemu"
	"github.com/ciaocloud/ciao/ccloudvm/vmtest"
)

func dial(t *testing.T, f *vmtest.FakeQEMU) *qemu.Monitor {
	t.Helper()
	m, err := qemu.Dial(t.Context(), f.Listen(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func TestMonitorTalks(t *testing.T) {
	for name, f := range map[string]*vmtest.FakeQEMU{
		"healthy":     {},
		"event storm": {Storm: 5000},
		"garbage":     {Garbage: true},
	} {
		t.Run(name, func(t *testing.T) {
			m := dial(t, f)
			if s, err := m.Status(t.Context()); err != nil || s != qemu.Running {
				t.Errorf("Status = %q, %v", s, err)
			}
			if v, err := m.QEMUVersion(t.Context()); err != nil || v != "7.2.22" {
				t.Errorf("QEMUVersion = %q, %v", v, err)
			}
			if err := m.Powerdown(t.Context()); err != nil {
				t.Error(err)
			}
			for e := range m.Events() {
				if s, ok := e.(qemu.Shutdown); ok {
					if !s.Guest || s.Reason != "guest-shutdown" || s.Time().Unix() != 1700000000 {
						t.Errorf("event = %+v", s)
					}
					break
				}
			}
		})
	}
}

func TestMonitorTakesBigReplies(t *testing.T) {
	const size = 100 << 10
	m := dial(t, &vmtest.FakeQEMU{ReplyBytes: size})
	var reply string
	if err := m.Execute(t.Context(), "query-block", nil, &reply); err != nil || len(reply) != size {
		t.Errorf("Execute = %d bytes, %v; want %d", len(reply), err, size)
	}
}

func TestMonitorPassesOnRefusals(t *testing.T) {
	m := dial(t, &vmtest.FakeQEMU{})
	err := m.Execute(t.Context(), "fail", nil, nil)
	var refusal *qemu.CommandError
	if !errors.As(err, &refusal) || refusal.Class != "GenericError" || !strings.Contains(err.Error(), "it will not do") {
		t.Errorf("Execute = %v", err)
	}
}

func TestMonitorServesManyAtOnce(t *testing.T) {
	m := dial(t, &vmtest.FakeQEMU{Storm: 10})
	var wait sync.WaitGroup
	for range 50 {
		wait.Go(func() {
			if s, err := m.Status(t.Context()); err != nil || s != qemu.Running {
				t.Errorf("Status = %q, %v", s, err)
			}
		})
	}
	wait.Wait()
}

func TestFrozenQEMUHoldsUpNobody(t *testing.T) {
	short := func() context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	m := dial(t, &vmtest.FakeQEMU{Freeze: true})
	if _, err := m.Status(short()); !errors.Is(err, qemu.ErrUnresponsive) {
		t.Errorf("Status = %v, want ErrUnresponsive", err)
	}
	if err := m.Powerdown(short()); !errors.Is(err, qemu.ErrUnresponsive) {
		t.Errorf("a go-qemu command = %v, want ErrUnresponsive", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.Status(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("Status = %v, want the caller's own change of mind", err)
	}
	big := map[string]string{"x": strings.Repeat("x", 4<<20)} // more than a socket's buffer
	if err := m.Execute(short(), "big", big, nil); err == nil {
		t.Error("a command that could not be written has no error")
	}
	mute := (&vmtest.FakeQEMU{Mute: true}).Listen(t)
	if _, err := qemu.Dial(short(), mute); !errors.Is(err, qemu.ErrUnresponsive) {
		t.Errorf("Dial = %v, want ErrUnresponsive", err)
	}
}

func TestDyingQEMUEndsEverything(t *testing.T) {
	f := &vmtest.FakeQEMU{Freeze: true}
	m := dial(t, f)
	failed := make(chan error, 1)
	go func() { _, err := m.Status(t.Context()); failed <- err }()
	f.Await(t, "query-status")
	f.Disconnect()
	if err := <-failed; !errors.Is(err, qemu.ErrDisconnected) {
		t.Errorf("Status = %v, want ErrDisconnected", err)
	}
	<-m.Done()
	if _, open := <-m.Events(); open {
		t.Error("the event stream is still open")
	}
	if _, err := m.Status(t.Context()); !errors.Is(err, qemu.ErrDisconnected) {
		t.Errorf("Status afterwards = %v, want ErrDisconnected", err)
	}
}
