package simulation

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/ciaocloud/ciao/cluster/scheduler"
	"github.com/ciaocloud/ciao/ssntp"
)

// Storm is what followed when the connections of all nodes and CNCIs were cut at once.
type Storm struct {
	At         Seconds `json:"at_seconds"`   // since the first call of the API
	Cut        int     `json:"cut"`          // connections
	Back       Seconds `json:"back_seconds"` // from the cut until all were connected again
	Dials      uint64  `json:"dials"`
	Handshakes uint64  `json:"handshakes"`  // that the scheduler began
	HungUp     uint64  `json:"hung_up"`     // dials that were given up before their turn, and cost no handshake
	Lost       uint64  `json:"lost"`        // nodes whose sessions the scheduler gave up meanwhile
	CPU        Seconds `json:"cpu_seconds"` // of the whole process, from the cut until all were back
}

// String is for a line of a table.
func (s *Storm) String() string {
	if s == nil {
		return "none"
	}
	return fmt.Sprintf("%d connections cut at %s, all back after %s: %d dials, %d hung up before their turn, %d handshakes; %d nodes given up; processor %s",
		s.Cut, s.At, s.Back, s.Dials, s.HungUp, s.Handshakes, s.Lost, s.CPU)
}

// connections are those of nodes and CNCIs to the scheduler.
type connections struct {
	mu    sync.Mutex
	open  map[*connection]struct{}
	dials uint64
}

// connection is one of them, a TCP connection in all but Close.
type connection struct {
	*net.TCPConn
	of *connections
}

func newConnections() *connections { return &connections{open: map[*connection]struct{}{}} }

func (c *connections) dial(ctx context.Context, address string) (net.Conn, error) {
	c.mu.Lock()
	c.dials++
	c.mu.Unlock()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	made := &connection{conn.(*net.TCPConn), c}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open[made] = struct{}{}
	return made, nil
}

// Close implements net.Conn.
func (c *connection) Close() error {
	c.of.mu.Lock()
	delete(c.of.open, c)
	c.of.mu.Unlock()
	return c.TCPConn.Close()
}

// cut ends all connections without a farewell, and says how many there were.
func (c *connections) cut() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	for one := range c.open {
		_ = one.TCPConn.Close() // its owner finds out
	}
	return len(c.open)
}

func (c *connections) dialled() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dials
}

// storm cuts all connections when it is time, and waits until all who had one have one again.
func (s *simulation) storm(ctx context.Context, begun time.Time) (*Storm, error) {
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-time.After(time.Until(begun.Add(s.config.Disconnect))):
	}
	before, err := s.weather()
	if err != nil {
		return nil, err
	}
	away := others(s.hub)
	cut := time.Now()
	report := &Storm{At: seconds(cut.Sub(begun)), Cut: s.connections.cut()}
	if err := await(ctx, func() (bool, error) { return s.back(away, before), nil }); err != nil {
		return nil, err
	}
	report.Back = seconds(time.Since(cut))
	after, err := s.weather()
	report.Dials, report.Lost, report.CPU = after.dials-before.dials, after.lost-before.lost, seconds(after.processor-before.processor)
	report.Handshakes, report.HungUp = after.gate.Begun-before.gate.Begun, after.gate.HungUp-before.gate.HungUp
	return report, err
}

// weather is what was counted so far.
type weather struct {
	gate      ssntp.Handshakes
	dials     uint64
	lost      uint64
	processor time.Duration
}

func (s *simulation) weather() (weather, error) {
	processor, err := processorTime()
	lost := s.controller.Counters().Frames[ssntp.NodeDisconnected.String()]
	return weather{gate: s.hub.Handshakes(), dials: s.connections.dialled(), lost: lost, processor: processor}, err
}

// back says that all who were away are connected again. Without so many handshakes some would count whose connection nobody has missed yet.
func (s *simulation) back(away map[ssntp.ID]bool, before weather) bool {
	if s.hub.Handshakes().Done-before.gate.Done < uint64(len(away)) {
		return false
	}
	now := others(s.hub)
	for id := range away {
		if !now[id] {
			return false
		}
	}
	return true
}

// others are those who are connected to the scheduler, but for the controller.
func others(hub *scheduler.Scheduler) map[ssntp.ID]bool {
	ids := map[ssntp.ID]bool{}
	for _, peer := range hub.Present() {
		if peer.Roles&ssntp.RoleController == 0 {
			ids[peer.ID] = true
		}
	}
	return ids
}
