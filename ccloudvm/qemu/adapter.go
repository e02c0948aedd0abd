package qemu

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/digitalocean/go-qemu/qmp"
)

// adapter serves go-qemu's monitor interface with a context, so that go-qemu's generated commands have deadlines.
type adapter struct {
	m   *Monitor
	ctx context.Context //nolint:containedctx // go-qemu's interface has no place for it
}

var _ qmp.Monitor = adapter{}

// Connect does nothing: the monitor is connected.
func (a adapter) Connect() error { return nil }

// Disconnect does nothing: the monitor belongs to who dialled it.
func (a adapter) Disconnect() error { return nil }

// Run takes a whole encoded command and returns the whole encoded reply, as go-qemu's socket monitor does.
func (a adapter) Run(command []byte) ([]byte, error) {
	var c qmp.Command
	if err := json.Unmarshal(command, &c); err != nil {
		return nil, fmt.Errorf("encoding a QMP command: %w", err)
	}
	msg, err := a.m.call(a.ctx, c, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Execute, err)
	}
	return msg.line, nil
}

// Events is served by [Monitor.Events], which bounds and types them.
func (a adapter) Events(context.Context) (<-chan qmp.Event, error) {
	return nil, qmp.ErrEventsNotSupported
}
