package ssntp

// queue is a ring of frames. It grows as needed and gives large storage back
// when it runs empty, so that idle peers cost little.
type queue struct {
	ring  []Frame // length is a power of two
	first int
	count int
}

const keepFrames = 16

func (q *queue) at(i int) *Frame { return &q.ring[(q.first+i)&(len(q.ring)-1)] }

func (q *queue) push(f Frame) {
	if q.count == len(q.ring) {
		q.grow()
	}
	*q.at(q.count) = f
	q.count++
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
	if q.count == 0 && len(q.ring) > keepFrames {
		q.ring, q.first = nil, 0
	}
}
