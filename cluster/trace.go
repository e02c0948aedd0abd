package cluster

import "time"

// Trace is the way of one command through the cluster, from the controller that sent it to the node of its instance.
type Trace struct {
	Command     string     `json:"command"` // Start, Stop or Delete
	Generation  uint64     `json:"generation"`
	Traceparent string     `json:"traceparent"` // W3C Trace Context, as in the daemons' logs and `ciao ssntp tap`
	Hops        []TraceHop `json:"hops"`
}

// TraceHop is a daemon that a command passed. Times of different machines are of their own clocks.
type TraceHop struct {
	ID       string    `json:"id"`
	Name     string    `json:"name"` // controller, scheduler, or the node's host name
	Received time.Time `json:"received"`
	Sent     time.Time `json:"sent,omitzero"` // zero where it went no further
}
