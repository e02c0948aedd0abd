package ssntp

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// table is the routing table of a hub, and the announcements of its changes in
// the order in which they were made.
type table struct {
	mu     sync.RWMutex
	closed bool
	byID   map[ID]*peer
	byRole map[Role]map[*peer]struct{}
	roles  atomic.Uint32 // those in byRole that anybody has

	news    sync.Mutex
	changes []change
	more    chan struct{} // there are changes
	end     chan struct{} // no further ones will come
}

// change is a session that began (reason nil) or ended.
type change struct {
	peer   *peer
	reason error
}

func (t *table) init() {
	t.byID = make(map[ID]*peer)
	t.byRole = make(map[Role]map[*peer]struct{})
	t.more = make(chan struct{}, 1)
	t.end = make(chan struct{})
}

func (t *table) find(id ID) *peer {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.byID[id]
}

func (t *table) all() []*peer {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return slices.Collect(maps.Values(t.byID))
}

func (t *table) identities() []Identity {
	t.mu.RLock()
	defer t.mu.RUnlock()
	list := make([]Identity, 0, len(t.byID))
	for _, p := range t.byID {
		list = append(list, p.identity)
	}
	return list
}

// eachOf calls visit for every peer that has one of the roles, once.
func (t *table) eachOf(roles Role, visit func(*peer)) {
	if roles &= Role(t.roles.Load()); roles == 0 {
		return
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	var done Role
	for role := range roles.Each {
		for p := range t.byRole[role] {
			if p.identity.Roles&done == 0 {
				visit(p)
			}
		}
		done |= role
	}
}

// replace puts a peer in the place of old, which may be nil. It is false when
// somebody else was faster, or the server stops.
func (t *table) replace(old, p *peer) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.byID[p.identity.ID] != old {
		return false
	}
	if old != nil {
		t.dropLocked(old, fmt.Errorf("%w: %v", ErrSuperseded, p.identity))
	}
	t.byID[p.identity.ID] = p
	for role := range p.identity.Roles.Each {
		if t.byRole[role] == nil {
			t.byRole[role] = make(map[*peer]struct{})
		}
		t.byRole[role][p] = struct{}{}
		t.roles.Or(uint32(role))
	}
	t.publish(change{peer: p})
	return true
}

// remove takes a peer out; false when it was out already.
func (t *table) remove(p *peer, reason error) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byID[p.identity.ID] != p {
		return false
	}
	t.dropLocked(p, reason)
	return true
}

func (t *table) dropLocked(p *peer, reason error) {
	delete(t.byID, p.identity.ID)
	for role := range p.identity.Roles.Each {
		if delete(t.byRole[role], p); len(t.byRole[role]) == 0 {
			t.roles.And(^uint32(role))
		}
	}
	t.publish(change{peer: p, reason: reason})
}

func (t *table) refuseNew() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
}

func (t *table) publish(c change) {
	t.news.Lock()
	t.changes = append(t.changes, c)
	t.news.Unlock()
	select {
	case t.more <- struct{}{}:
	default:
	}
}

func (t *table) close() { close(t.end) }

// announce tells the owner about changes, one at a time, until close and after
// it all that are left.
func (t *table) announce(owner Owner) {
	for open := true; open; {
		select {
		case <-t.more:
		case <-t.end:
			open = false
		}
		for c, ok := t.nextChange(); ok; c, ok = t.nextChange() {
			c.tell(owner)
		}
	}
}

func (t *table) nextChange() (change, bool) {
	t.news.Lock()
	defer t.news.Unlock()
	if len(t.changes) == 0 {
		t.changes = nil
		return change{}, false
	}
	c := t.changes[0]
	t.changes = t.changes[1:]
	return c, true
}

// tell keeps the order that Owner promises: Receive comes between Connected and
// Disconnected of its source.
func (c change) tell(owner Owner) {
	if c.reason == nil {
		owner.Connected(c.peer.ctx, c.peer.identity)
		close(c.peer.ready)
		return
	}
	c.peer.endpoint.awaitRest()
	owner.Disconnected(context.WithoutCancel(c.peer.ctx), c.peer.identity, c.reason)
}

func (t *table) isClosed() bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.closed
}
