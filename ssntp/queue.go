package ssntp

// queue is a ring of frames. It grows as needed; shrink gives the storage
// back, so that idle peers cost little.
type queue struct {
	ring  []Frame // length is a power of two
	first int
	count int
}

func (q *queue) at(i int) *Frame { return &q.ring[(q.first+i)&(len(q.ring)-1)] }

// next is the place of one more frame.
func (q *queue) next() *Frame {
	if q.count == len(q.ring) {
		q.grow()
	}
	q.count++
	return q.at(q.count - 1)
}

func (q *queue) grow() {
	ring := make([]Frame, max(4, 2*len(q.ring)))
	n := copy(ring, q.ring[q.first:])
	copy(ring[n:], q.ring[:q.first])
	q.ring, q.first = ring, 0
}

func (q *queue) pop() {
	*q.at(0) = Frame{}
	q.first = (q.first + 1) & (len(q.ring) - 1)
	q.count--
}

// shrink gives the storage of an empty queue back.
func (q *queue) shrink() {
	if q.count == 0 {
		q.ring, q.first = nil, 0
	}
}
