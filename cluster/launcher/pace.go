package launcher

import (
	"time"

	"github.com/ciaocloud/ciao/cluster"
)

// pace is how many starts may be under way on the node. An engine does several at a time faster than one by one, up to a number that depends on
// the machine, its disks and what else it does; beyond that each start only waits for the others, and holds memory and locks meanwhile.
//
// It follows TCP Vegas (Brakmo and Peterson, 1995): of n starts under way that take as long as t where one alone takes best, n·(1 − best/t) wait
// for others. More than waitMost of them are too many, fewer than waitLeast leave room for another. It never goes below floor: with that few the
// estimate, which starts of different sizes distort, would cost more than it saves.
type pace struct {
	most  float64 // the configured bound
	limit float64
	best  map[work]time.Duration
}

// work is what is compared: creating a container is another thing than starting a machine.
type work struct {
	kind      cluster.Kind
	operation operation
}

const (
	waitLeast = 3.0
	waitMost  = 5.0
	floor     = 4.0
)

func newPace(most int) pace {
	return pace{most: float64(most), limit: float64(most), best: map[work]time.Duration{}}
}

// may says whether one more start may begin beside those that are under way.
func (p *pace) may(running int) bool { return float64(running) < max(1, p.limit) }

// done learns from work that succeeded, while running starts, it included, were under way.
func (p *pace) done(w work, took time.Duration, running int) {
	best, known := p.best[w]
	if took <= 0 {
		return
	}
	if !known || took < best || running == 1 { // alone it shows what the machine can do now
		p.best[w], best = took, took
	}
	waiting := float64(running) * (1 - float64(best)/float64(took))
	switch step := 1 / p.limit; { // one in the time of as many starts as there are at a time
	case waiting > waitMost:
		p.limit = max(min(floor, p.most), p.limit-step)
	case waiting < waitLeast && float64(running) >= p.limit-1: // the limit was the reason that there were no more
		p.limit = min(p.most, p.limit+step)
	}
}
