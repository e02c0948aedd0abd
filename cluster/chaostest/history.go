package chaostest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/ciaocloud/ciao/cluster/driver"
)

// Copy is a live copy of an instance.
type Copy struct {
	Instance   string
	Place      string // a node or, where one could have two copies, a carrier on it
	Generation uint64
}

// turn is the begin or the end of a copy, at some moment of a span.
type turn struct {
	Copy
	begins           bool
	earliest, latest time.Duration // since the history began
}

func (t turn) String() string {
	verb := "ends"
	if t.begins {
		verb = "begins"
	}
	at := fmt.Sprintf("%.3f s", t.latest.Seconds())
	if t.earliest != t.latest {
		at = fmt.Sprintf("%.3f to %s", t.earliest.Seconds(), at)
	}
	return fmt.Sprintf("%s: generation %d %s on %s", at, t.Generation, verb, t.Place)
}

// History is every live copy that was known of. Its methods may be called by several goroutines.
type History struct {
	began  time.Time
	mu     sync.Mutex
	live   map[[2]string]Copy // by instance and place
	turns  []turn
	looked time.Duration // when the last look began
	last   time.Duration // of Note: no two turns are at the same instant
}

// NewHistory begins a history now.
func NewHistory() *History { return &History{began: time.Now(), live: map[[2]string]Copy{}} }

// Note notes the state of a place's copy at this instant, for engines that tell of each change.
func (h *History) Note(place string, s driver.Status) {
	h.mu.Lock()
	defer h.mu.Unlock()
	copied, begins := Copy{s.ID, place, s.Generation}, s.Condition == driver.Running
	if _, live := h.live[copied.key()]; live == begins {
		return
	}
	h.last = max(time.Since(h.began), h.last+1)
	h.turn(copied, begins, h.last, h.last)
}

func (c Copy) key() [2]string { return [2]string{c.Instance, c.Place} }

// Look is told what lives by a look at all places that began at a time and has just ended. What begins or ends between two looks does so
// at some moment from the begin of the first to the end of the second; what does both between two is not seen.
func (h *History) Look(began time.Time, live []Copy) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now, seen := time.Since(h.began), map[[2]string]bool{}
	for _, c := range live {
		seen[c.key()] = true
		if _, known := h.live[c.key()]; !known {
			h.turn(c, true, h.looked, now)
		}
	}
	for key, c := range h.live {
		if !seen[key] {
			h.turn(c, false, h.looked, now)
		}
	}
	h.looked = began.Sub(h.began)
}

func (h *History) turn(c Copy, begins bool, earliest, latest time.Duration) {
	if begins {
		h.live[c.key()] = c
	} else {
		delete(h.live, c.key())
	}
	h.turns = append(h.turns, turn{c, begins, earliest, latest})
}

// Copies is how many live copies there were.
func (h *History) Copies() (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range h.turns {
		if t.begins {
			n++
		}
	}
	return n
}

// holder is a model's state: where an instance lives, and the highest generation that ever did.
type holder struct {
	place      string
	generation uint64
}

// oneCopy is a lock for each instance: only where nobody has it may it be taken, by no older generation than before, and only who has it
// gives it back.
var oneCopy = porcupine.Model{
	Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
		parts := map[string][]porcupine.Operation{}
		for _, o := range all {
			id := o.Input.(turn).Instance
			parts[id] = append(parts[id], o)
		}
		var list [][]porcupine.Operation
		for _, part := range parts {
			list = append(list, part)
		}
		return list
	},
	Init: func() any { return holder{} },
	Step: func(state, input, _ any) (bool, any) {
		h, t := state.(holder), input.(turn)
		if t.begins {
			return h.place == "" && t.Generation >= h.generation, holder{t.Place, t.Generation}
		}
		return h.place == t.Place, holder{generation: h.generation}
	},
}

// Check says which instances certainly had two live copies at a time, or an old one after a newer one.
func (h *History) Check() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []porcupine.Operation
	for _, t := range h.turns {
		all = append(all, porcupine.Operation{Input: t, Call: 2 * int64(t.earliest), Return: 2*int64(t.latest) + 1})
	}
	var wrong []string
	for _, part := range oneCopy.Partition(all) {
		if porcupine.CheckOperations(oneCopy, part) {
			continue
		}
		story := []string{"instance " + part[0].Input.(turn).Instance + ":"}
		for _, o := range part {
			story = append(story, o.Input.(turn).String())
		}
		wrong = append(wrong, strings.Join(story, "\n  "))
	}
	if len(wrong) == 0 {
		return nil
	}
	slices.Sort(wrong)
	return fmt.Errorf("more than one live copy, or an old one after a newer one:\n%s", strings.Join(wrong, "\n"))
}
