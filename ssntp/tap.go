package ssntp

import "time"

// Tapped is a frame that came to a server, or that a server sent.
type Tapped struct {
	Time  time.Time
	From  Identity
	Frame Frame // not to be changed
}

// SetTap has visit called for every frame from now on: those that peers send
// here, also what is refused, and those of the server itself, before they are
// passed on. Nil ends that, but for calls that are under way. Calls come from
// many goroutines, in order for each source, and must not block. Without a tap
// a frame pays for one look.
func (s *Server) SetTap(visit func(Tapped)) {
	if visit == nil {
		s.tap.Store(nil)
		return
	}
	s.tap.Store(&visit)
}

// tapped shows a frame to the tap.
func (s *Server) tapped(from Identity, f *Frame) {
	if visit := s.tap.Load(); visit != nil {
		(*visit)(Tapped{Time: time.Now(), From: from, Frame: *f})
	}
}
