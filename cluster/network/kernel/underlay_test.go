package kernel

import (
	"testing"
	"time"
)

func TestLeaseIsDueByEitherClock(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		left, jump time.Duration
		want       bool
	}{
		"not yet":                       {left: time.Minute},
		"now":                           {want: true},
		"the clock was put forward":     {left: time.Minute, jump: time.Hour, want: true},
		"the clock was put back":        {left: time.Minute, jump: -time.Hour},
		"put back, and its time is now": {jump: -time.Hour, want: true},
	} {
		if got := due(now.Add(c.left), now, now.Round(0).Add(c.jump)); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
