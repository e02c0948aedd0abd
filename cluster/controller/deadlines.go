package controller

import (
	"container/heap"
	"time"
)

// subject is what a deadline is about.
type subject struct {
	kind subjectKind
	id   string
}

type subjectKind int

const (
	ofInstance subjectKind = iota
	ofVolume
	ofNode
	ofSubnet
	ofCluster
	ofRevocations
	ofStrays // on a node
)

// deadlines says which subject is due next. Each subject has at most one deadline: the one set last.
type deadlines struct {
	queue alarms
	at    map[subject]time.Time
}

func newDeadlines() *deadlines { return &deadlines{at: map[subject]time.Time{}} }

// set replaces the subject's deadline; a zero time means none.
func (d *deadlines) set(s subject, at time.Time) {
	if at.IsZero() {
		delete(d.at, s)
		return
	}
	if !d.at[s].Equal(at) {
		d.at[s] = at
		heap.Push(&d.queue, alarm{at, s})
	}
}

// due takes the subjects whose deadline has come.
func (d *deadlines) due(now time.Time) (subjects []subject) {
	for {
		next, ok := d.next()
		if !ok || next.After(now) {
			return subjects
		}
		s := heap.Pop(&d.queue).(alarm).subject
		delete(d.at, s)
		subjects = append(subjects, s)
	}
}

// next is when the next subject is due; false when none is.
func (d *deadlines) next() (time.Time, bool) {
	for len(d.queue) > 0 {
		first := d.queue[0]
		if d.at[first.subject].Equal(first.at) {
			return first.at, true
		}
		heap.Pop(&d.queue) // it was replaced
	}
	return time.Time{}, false
}

type alarm struct {
	at      time.Time
	subject subject
}

type alarms []alarm

func (a alarms) Len() int           { return len(a) }
func (a alarms) Less(i, j int) bool { return a[i].at.Before(a[j].at) }
func (a alarms) Swap(i, j int)      { a[i], a[j] = a[j], a[i] }
func (a *alarms) Push(x any)        { *a = append(*a, x.(alarm)) }
func (a *alarms) Pop() any {
	last := (*a)[len(*a)-1]
	*a = (*a)[:len(*a)-1]
	return last
}
