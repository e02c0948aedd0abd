package simulation

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/ciaocloud/ciao/cluster/driver"
)

// turn is the begin or the end of a live copy of an instance.
type turn struct {
	instance, node string
	generation     uint64
	begins         bool
	at             time.Duration // since the history began
}

func (t turn) String() string {
	verb := "ends"
	if t.begins {
		verb = "begins"
	}
	return fmt.Sprintf("%.3f s: generation %d %s on %s", t.at.Seconds(), t.generation, verb, t.node)
}

// history is every live copy that there ever was, in order. Engines write it at the instant of each change.
type history struct {
	began time.Time
	mu    sync.Mutex
	live  map[[2]string]bool // by instance and node
	turns []turn
}

func newHistory() *history { return &history{began: time.Now(), live: map[[2]string]bool{}} }

func (h *history) note(node string, s driver.Status) {
	h.mu.Lock()
	defer h.mu.Unlock()
	key, begins := [2]string{s.ID, node}, s.Condition == driver.Running
	if h.live[key] == begins {
		return
	}
	h.live[key] = begins
	h.turns = append(h.turns, turn{s.ID, node, s.Generation, begins, time.Since(h.began)})
}

// copies is how many live copies there were.
func (h *history) copies() (n int) {
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
	node       string
	generation uint64
}

// oneCopy is a lock for each instance: only where nobody has it may it be taken, by no older generation than before, and only who has it
// gives it back.
var oneCopy = porcupine.Model{
	Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
		parts := map[string][]porcupine.Operation{}
		for _, o := range all {
			id := o.Input.(turn).instance
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
			return h.node == "" && t.generation >= h.generation, holder{t.node, t.generation}
		}
		return h.node == t.node, holder{generation: h.generation}
	},
}

// check says which instances had two live copies at a time, or an old one after a newer one.
func (h *history) check() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []porcupine.Operation
	for i, t := range h.turns { // one after the other: each is an instant
		all = append(all, porcupine.Operation{Input: t, Call: int64(2 * i), Return: int64(2*i + 1)})
	}
	var wrong []string
	for _, part := range oneCopy.Partition(all) {
		if porcupine.CheckOperations(oneCopy, part) {
			continue
		}
		story := []string{"instance " + part[0].Input.(turn).instance + ":"}
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

// The check finds what it is for.
func TestHistoryOfCopies(t *testing.T) {
	on := func(node string, generation uint64, condition driver.Condition) func(*history) {
		return func(h *history) { h.note(node, driver.Status{ID: "one", Generation: generation, Condition: condition}) }
	}
	for name, c := range map[string]struct {
		steps []func(*history)
		wrong bool
	}{
		"one after the other": {steps: []func(*history){on("a", 1, driver.Running), on("a", 1, driver.Ended), on("b", 2, driver.Running)}},
		"again":               {steps: []func(*history){on("a", 1, driver.Running), on("a", 1, driver.Absent), on("a", 1, driver.Running)}},
		"two at a time":       {[]func(*history){on("a", 1, driver.Running), on("b", 2, driver.Running), on("a", 1, driver.Ended)}, true},
		"an old one later":    {[]func(*history){on("a", 2, driver.Running), on("a", 2, driver.Ended), on("b", 1, driver.Running)}, true},
	} {
		h := newHistory()
		for _, step := range c.steps {
			step(h)
		}
		if err := h.check(); (err != nil) != c.wrong {
			t.Errorf("%s: %v", name, err)
		}
	}
}
