package chaostest

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/ciaocloud/ciao/cluster/driver"
)

// The check finds what it is for.
func TestHistoryOfInstants(t *testing.T) {
	on := func(place string, generation uint64, condition driver.Condition) func(*History) {
		return func(h *History) {
			h.Note(place, driver.Status{ID: "one", Generation: generation, Condition: condition})
		}
	}
	for name, c := range map[string]struct {
		steps []func(*History)
		wrong bool
	}{
		"one after the other": {steps: []func(*History){on("a", 1, driver.Running), on("a", 1, driver.Ended), on("b", 2, driver.Running)}},
		"again":               {steps: []func(*History){on("a", 1, driver.Running), on("a", 1, driver.Absent), on("a", 1, driver.Running)}},
		"two at a time":       {[]func(*History){on("a", 1, driver.Running), on("b", 2, driver.Running), on("a", 1, driver.Ended)}, true},
		"an old one later":    {[]func(*History){on("a", 2, driver.Running), on("a", 2, driver.Ended), on("b", 1, driver.Running)}, true},
	} {
		h := NewHistory()
		for _, step := range c.steps {
			step(h)
		}
		if err := h.Check(); (err != nil) != c.wrong {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What is seen from time to time is wrong only when no order of events explains it.
func TestHistoryOfLooks(t *testing.T) {
	a, b, old := Copy{"one", "a", 1}, Copy{"one", "b", 2}, Copy{"one", "a", 0}
	for name, c := range map[string]struct {
		looks [][]Copy
		wrong bool
	}{
		"one after the other":            {looks: [][]Copy{{a}, {}, {b}}},
		"between two looks":              {looks: [][]Copy{{a}, {b}}},
		"both, for the time of one look": {looks: [][]Copy{{a}, {a, b}, {b}}},
		"both, for two looks":            {[][]Copy{{a}, {a, b}, {a, b}, {b}}, true},
		"both from the begin":            {[][]Copy{{a, b}}, true},
		"an old one later":               {[][]Copy{{b}, {}, {old}}, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := NewHistory()
			for _, live := range c.looks {
				time.Sleep(time.Second)
				began := time.Now()
				time.Sleep(time.Millisecond)
				h.Look(began, live)
			}
			if err := h.Check(); (err != nil) != c.wrong {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}
