package controller

import (
	"context"
	"sync"

	"github.com/ciaocloud/ciao/ssntp"
)

// message is what the link tells the reconciler.
type message struct {
	link    linkChange
	resumed bool
	frame   ssntp.Frame
}

type linkChange int

const (
	linkSame linkChange = iota
	linkUp
	linkDown
)

// mailboxSize bounds what waits for the reconciler; senders wait beyond it.
const mailboxSize = 4096

// mailbox brings messages to the one goroutine that owns the reconciliation.
type mailbox struct {
	messages chan message
	closed   chan struct{}
	once     sync.Once
}

func newMailbox() *mailbox {
	return &mailbox{messages: make(chan message, mailboxSize), closed: make(chan struct{})}
}

// post blocks while the mailbox is full, until ctx ends or nobody reads any more.
func (b *mailbox) post(ctx context.Context, m message) {
	select {
	case b.messages <- m:
	case <-b.closed:
	case <-ctx.Done():
	}
}

func (b *mailbox) close() { b.once.Do(func() { close(b.closed) }) }
