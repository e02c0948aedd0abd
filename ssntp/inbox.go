package ssntp

import (
	"context"
	"sync"
)

// batchSize is how many frames are taken in under one lock.
const batchSize = 128

// arrival is what is handled: a frame, or a change of the connection.
type arrival struct {
	frame  Frame
	change func(context.Context)
}

// batch is what has arrived together. Batches are borrowed, so that frames cost
// no allocation and idle connections no memory.
type batch struct {
	items [batchSize]arrival
	count int
	ack   uint64 // the latest acknowledgement that came along
	next  *batch
}

var batches = sync.Pool{New: func() any { return new(batch) }}

func newBatch() *batch { return batches.Get().(*batch) }

func (b *batch) release() {
	clear(b.items[:b.count])
	b.count, b.ack, b.next = 0, 0, nil
	batches.Put(b)
}

// inbox is a list of batches. Its length is bounded by the window that the
// session gives to the other side.
type inbox struct {
	first, last *batch
}

func (q *inbox) empty() bool { return q.first == nil }

func (q *inbox) push(b *batch) {
	if q.first == nil {
		q.first = b
	} else {
		q.last.next = b
	}
	q.last = b
}

func (q *inbox) pop() *batch {
	b := q.first
	if b != nil {
		q.first = b.next
	}
	return b
}
