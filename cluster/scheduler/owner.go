package scheduler

import (
	"context"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/ssntp"
)

const nodeRoles = ssntp.RoleAgent | ssntp.RoleNetAgent

// Connected implements ssntp.Owner: a new node is told to the controllers, a new controller is told the nodes.
func (s *Scheduler) Connected(_ context.Context, peer ssntp.Identity) {
	if peer.Roles&nodeRoles != 0 {
		event := connected(peer)
		s.mu.Lock()
		s.cluster.Connected(event.Node, event.Roles)
		delete(s.inventories, peer.ID)
		s.mu.Unlock()
		s.logger.Info("node connected", "node", peer.ID, "roles", peer.Roles)
		s.tell(ssntp.ID{}, ssntp.NodeConnected, event)
	}
	if peer.Roles&ssntp.RoleController != 0 {
		s.logger.Info("controller connected", "controller", peer.ID)
		for _, other := range s.server.Peers() {
			if other.Roles&nodeRoles != 0 {
				s.tell(peer.ID, ssntp.NodeConnected, connected(other))
			}
		}
	}
}

// Disconnected implements ssntp.Owner.
func (s *Scheduler) Disconnected(_ context.Context, peer ssntp.Identity, reason error) {
	s.logger.Info("peer disconnected", "peer", peer.ID, "roles", peer.Roles, "reason", reason)
	if peer.Roles&nodeRoles == 0 {
		return
	}
	s.mu.Lock()
	s.cluster.Disconnected(peer.ID.String())
	delete(s.inventories, peer.ID)
	s.mu.Unlock()
	s.tell(ssntp.ID{}, ssntp.NodeDisconnected, payload.NodeDisconnected{Node: peer.ID.String(), Time: time.Now()})
}

func connected(peer ssntp.Identity) payload.NodeConnected {
	event := payload.NodeConnected{Node: peer.ID.String(), Time: time.Now()}
	if peer.Roles&ssntp.RoleAgent != 0 {
		event.Roles = append(event.Roles, cluster.Compute)
	}
	if peer.Roles&ssntp.RoleNetAgent != 0 {
		event.Roles = append(event.Roles, cluster.Network)
	}
	return event
}

// tell sends a body; a zero destination is all controllers. What cannot be delivered is only noted: whoever is not connected asks again when
// it is.
func (s *Scheduler) tell(destination ssntp.ID, operand ssntp.Operand, body any) {
	data, err := payload.Encode(body)
	if err == nil {
		err = s.server.Send(ssntp.Frame{Operand: operand, Destination: destination, Payload: data})
	}
	if err != nil {
		s.logger.Warn("frame not sent", "operand", operand, "destination", destination, "error", err)
	}
}
