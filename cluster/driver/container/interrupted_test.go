package container

import (
	"testing"
	"time"

	"github.com/docker/docker/api/types/events"

	"github.com/ciaocloud/ciao/cluster/driver"
)

func TestEnding(t *testing.T) {
	engine := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	at := func(d time.Duration) time.Time { return engine.Add(d) }
	tests := map[string]struct {
		ending
		want bool
	}{
		"ended by the new engine":                    {ending{finished: at(time.Second), code: 0}, true},
		"exited before the break was seen":           {ending{finished: at(-time.Hour), code: 0, broken: at(-time.Minute)}, false},
		"failed before the break was seen":           {ending{finished: at(-time.Hour), code: 1, broken: at(-time.Minute)}, false},
		"ended between two engines":                  {ending{finished: at(-time.Second), code: 0, broken: at(-time.Minute)}, true},
		"nobody watched, exited":                     {ending{finished: at(-time.Hour), code: 0}, false},
		"nobody watched, terminated":                 {ending{finished: at(-time.Hour), code: 143}, true},
		"nobody watched, killed":                     {ending{finished: at(-time.Hour), code: 137}, true},
		"nobody knows its code":                      {ending{finished: at(-time.Hour), code: 255}, true},
		"live restore, exited under the new engine":  {ending{finished: at(time.Second), code: 0, survives: true}, false},
		"live restore, after a failure of the power": {ending{finished: at(time.Second), code: 255, survives: true}, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			test.engine = engine
			if got := test.interrupted(); got != test.want {
				t.Errorf("interrupted is %t, want %t", got, test.want)
			}
		})
	}
}

// A run whose start the engine did not answer ended with the engine.
func TestSightingsOfUnansweredStarts(t *testing.T) {
	const id = "web"
	var s sightings
	before := time.Now()
	begun := before.Add(time.Minute)
	s.started(id, begun, false)
	if s.cutOff(driver.Status{ID: id, Started: before}) {
		t.Error("an older run counts as cut off")
	}
	if !s.cutOff(driver.Status{ID: id, Started: begun.Add(time.Second)}) {
		t.Error("a run that an unanswered start began does not count as cut off")
	}
	s.started(id, begun.Add(time.Minute), true)
	if s.cutOff(driver.Status{ID: id, Started: begun.Add(2 * time.Minute)}) {
		t.Error("a run that an answered start began counts as cut off")
	}
}

// Events come late at times, above all right after the engine came back.
func TestSightingsOfLateEvents(t *testing.T) {
	const id = "web"
	kill := events.Message{Action: events.ActionKill}
	start := events.Message{Action: events.ActionStart}
	at := func(m events.Message, when time.Time) events.Message {
		m.TimeNano = when.UnixNano()
		return m
	}
	var s sightings
	began := time.Now()
	done := s.asked(id)
	s.event(id, at(start, began))
	s.event(id, at(kill, time.Now()))
	done()
	if s.killed(driver.Status{ID: id, Started: began}) {
		t.Error("a stop that the driver asked for, before it was told of the start, counts as somebody else's")
	}
	again := time.Now().Add(time.Second)
	s.event(id, at(start, again))
	s.event(id, at(kill, again.Add(time.Second)))
	if !s.killed(driver.Status{ID: id, Started: again}) {
		t.Error("a kill that nobody asked for is not seen")
	}
	s.event(id, at(start, began)) // older than the kill
	if !s.killed(driver.Status{ID: id, Started: again}) {
		t.Error("a late event of an earlier start hides the kill of a later run")
	}
}

// A clock that jumped since the engine was started does not make its containers older than it, or younger.
func TestStartOfEngineWhoseClockJumped(t *testing.T) {
	bridge := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct{ process, bridge, started, restored time.Time }{
		"as usual":              {bridge.Add(-2 * time.Second), bridge, bridge.Add(-2 * time.Second), bridge},
		"forward":               {bridge.Add(2 * time.Hour), bridge, bridge, bridge},
		"back":                  {bridge.Add(-2 * time.Hour), bridge, bridge, bridge},
		"bridge that was kept":  {bridge.Add(time.Second), bridge, bridge.Add(time.Second), bridge.Add(time.Second)},
		"no bridge":             {process: bridge, started: bridge, restored: bridge},
		"no process":            {bridge: bridge, started: bridge, restored: bridge},
		"neither bridge nor it": {},
	} {
		started, restored := startOf(c.process, c.bridge)
		if !started.Equal(c.started) || !restored.Equal(c.restored) {
			t.Errorf("%s: started %v, restored %v, want %v and %v", name, started, restored, c.started, c.restored)
		}
	}
}
