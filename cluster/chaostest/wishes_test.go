package chaostest

import (
	"fmt"
	"testing"

	"github.com/ciaocloud/ciao/cluster"
)

// What was promised is missed, what nobody asked for is noticed, and a doubt may end either way but not half.
func TestWishes(t *testing.T) {
	there := func(id string, wanted cluster.Desired) cluster.Instance {
		return cluster.Instance{ID: id, Name: id, Tenant: "red", Desired: wanted}
	}
	for name, c := range map[string]struct {
		say   func(*Wishes)
		found []cluster.Instance
		wrong bool
	}{
		"as wished":      {say: func(w *Wishes) { w.Created("red", "a") }, found: []cluster.Instance{there("a", cluster.WantActive)}},
		"lost":           {say: func(w *Wishes) { w.Created("red", "a") }, wrong: true},
		"unwanted":       {say: func(*Wishes) {}, found: []cluster.Instance{there("a", cluster.WantActive)}, wrong: true},
		"as it was":      {change(cluster.WantStopped, Done), []cluster.Instance{there("a", cluster.WantActive)}, true},
		"refused":        {change(cluster.WantDeleted, Refused), nil, true},
		"perhaps done":   {change(cluster.WantDeleted, Unknown), nil, false},
		"perhaps not":    {change(cluster.WantDeleted, Unknown), []cluster.Instance{there("a", cluster.WantActive)}, false},
		"doubt: none":    {say: func(w *Wishes) { w.Doubt("red", "x", 2) }},
		"doubt: all":     {say: func(w *Wishes) { w.Doubt("red", "x", 2) }, found: []cluster.Instance{there("x-1", cluster.WantActive), there("x-2", cluster.WantActive)}},
		"doubt: half":    {func(w *Wishes) { w.Doubt("red", "x", 2) }, []cluster.Instance{there("x-1", cluster.WantActive)}, true},
		"doubt: another": {func(w *Wishes) { w.Doubt("blue", "x", 1) }, []cluster.Instance{there("x", cluster.WantActive)}, true},
	} {
		w, found := NewWishes(), map[string]cluster.Instance{}
		c.say(w)
		for _, i := range c.found {
			found[i.ID] = i
		}
		if err := w.Compare(found); (err != nil) != c.wrong {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func change(wanted cluster.Desired, became Outcome) func(*Wishes) {
	return func(w *Wishes) {
		w.Created("red", "a")
		w.Changed("a", wanted, became)
	}
}

func TestOutcomes(t *testing.T) {
	for err, want := range map[error]Outcome{
		nil: Done, fmt.Errorf("it is down: %w", cluster.ErrUnavailable): Unknown, cluster.ErrOverQuota: Refused, cluster.ErrPermission: Wrong,
	} {
		if got, _ := OutcomeOf(err); got != want {
			t.Errorf("%v is %v, not %v", err, got, want)
		}
	}
}
