package container

import (
	"sync"
	"time"

	"github.com/docker/docker/api/types/events"

	"github.com/ciaocloud/ciao/cluster/driver"
)

// sightings are what the engine's stream of events showed of ends that instances did not bring about themselves. An engine that goes
// down in order still tells of the signals that it sends; one that crashes only breaks the stream. The zero value is ready.
type sightings struct {
	mu       sync.Mutex
	brokenAt time.Time
	kills    map[string]time.Time // last signal that this driver did not ask for, by instance
	stops    map[string]span      // when this driver asked last, by instance
	cuts     map[string]time.Time // when a start began that the engine did not answer, by instance
}

type span struct{ from, to time.Time } // to is zero while it lasts

func (s span) holds(at time.Time) bool {
	return !at.Before(s.from) && (s.to.IsZero() || !at.After(s.to))
}

// asked notes that this driver has the instance stopped, until done is called: signals meanwhile are its own.
func (s *sightings) asked(id string) (done func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stops == nil {
		s.stops = map[string]span{}
	}
	s.stops[id] = span{from: time.Now().Round(0)}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if stop, ok := s.stops[id]; ok {
			stop.to = time.Now().Round(0)
			s.stops[id] = stop
		}
	}
}

// event takes an event of the stream. Its time is of the same clock as the driver's.
func (s *sightings) event(id string, message events.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := time.Unix(0, message.TimeNano)
	switch message.Action {
	case events.ActionKill:
		if stop, ok := s.stops[id]; ok && stop.holds(at) {
			return
		}
		if s.kills == nil {
			s.kills = map[string]time.Time{}
		}
		s.kills[id] = at
	case events.ActionStart: // of a new run; its event may come when that is being stopped already
		if s.kills[id].Before(at) {
			delete(s.kills, id)
		}
		if stop := s.stops[id]; !stop.to.IsZero() && stop.to.Before(at) {
			delete(s.stops, id)
		}
	case events.ActionDestroy:
		delete(s.kills, id)
		delete(s.stops, id)
		delete(s.cuts, id)
	}
}

// started notes how the call ended by which this driver had the instance started.
func (s *sightings) started(id string, begun time.Time, answered bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if answered {
		delete(s.cuts, id)
		return
	}
	if s.cuts == nil {
		s.cuts = map[string]time.Time{}
	}
	s.cuts[id] = begun
}

// cutOff says whether the run of a status was begun by a start that the engine did not answer: it went down meanwhile, and its successor,
// which may say that it began the run itself, ended it.
func (s *sightings) cutOff(status driver.Status) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	begun, cut := s.cuts[status.ID]
	return cut && status.Started.After(begun.Add(-slack))
}

func (s *sightings) breakAt(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.brokenAt = at
}

func (s *sightings) broken() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.brokenAt
}

// killed says whether the run of a status was seen to be killed by somebody else.
func (s *sightings) killed(status driver.Status) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, seen := s.kills[status.ID]
	return seen && at.After(status.Started)
}
