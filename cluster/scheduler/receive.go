package scheduler

import (
	"context"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/ssntp"
)

// Receive implements ssntp.Owner. A body that cannot be read is dropped with a warning: its sender is broken, the others are not.
func (s *Scheduler) Receive(_ context.Context, f ssntp.Frame) {
	var err error
	switch f.Operand {
	case ssntp.Place:
		err = receive(f, s.place)
	case ssntp.Revoke:
		err = receive(f, s.revoke)
	case ssntp.Inventory:
		err = receive(f, s.inventory)
	case ssntp.InstanceState:
		err = receive(f, s.report)
	case ssntp.Ready:
		err = receive(f, s.status(cluster.NodeReady))
	case ssntp.Full:
		err = receive(f, s.status(cluster.NodeFull))
	case ssntp.Maintenance:
		err = receive(f, s.status(cluster.NodeMaintenance))
	}
	if err != nil {
		s.logger.Warn("frame dropped", "operand", f.Operand, "source", f.Source, "error", err)
	}
}

func receive[T any](f ssntp.Frame, handle func(source ssntp.ID, body T)) error {
	body, err := payload.Decode[T](f.Payload)
	if err != nil {
		return err
	}
	handle(f.Source, body)
	return nil
}

// revoke takes a list of revoked certificates and cuts those who are on it by now.
func (s *Scheduler) revoke(_ ssntp.ID, body payload.Revoke) {
	if s.revoked == nil {
		return
	}
	if err := s.revoked.Take(body.List); err != nil {
		s.logger.Error("a list of revoked certificates is not kept", "error", err)
	}
	s.server.Reconsider()
}

// place decides all requests of a frame, so that the answers fit into few frames.
func (s *Scheduler) place(controller ssntp.ID, body payload.Place) {
	placed, failures := s.decide(body.Requests)
	for len(placed) > 0 {
		part := placed[:min(len(placed), maxDecisions)]
		placed = placed[len(part):]
		s.tell(controller, ssntp.Placed, payload.Placed{Decisions: part})
	}
	for _, failure := range failures {
		s.tell(controller, ssntp.PlacementFailure, failure)
	}
}

// maxDecisions bounds a Placed frame: a decision takes less than half a KiB.
const maxDecisions = 1024

func (s *Scheduler) decide(requests []payload.PlacementRequest) ([]payload.Decision, []*payload.PlacementFailure) {
	var placed []payload.Decision
	var failures []*payload.PlacementFailure
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, request := range requests {
		decision, failure := s.cluster.Place(request, now)
		if failure != nil {
			failures = append(failures, failure)
			continue
		}
		placed = append(placed, decision)
	}
	return placed, failures
}

func (s *Scheduler) report(node ssntp.ID, report payload.InstanceReport) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cluster.Report(node.String(), report)
}

func (s *Scheduler) status(state cluster.NodeState) func(ssntp.ID, payload.NodeStatus) {
	return func(node ssntp.ID, status payload.NodeStatus) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.cluster.Status(node.String(), state, status)
	}
}
