package launcher

import (
	"sync"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
)

// wish is a command to an instance's owner.
type wish struct {
	want       cluster.Desired
	generation uint64
	grace      time.Duration  // stop
	start      *payload.Start // start
	refused    *refusal       // start
}

// mail is what an owner is told.
type mail struct {
	wish
	changed bool                           // the carrier may have changed
	revived bool                           // the engine answers again
	heard   bool                           // its guest has asked for its address
	judge   bool                           // it may be time to say that its guest has not
	volumes map[string]payload.VolumeOrder // changes of volumes, the newest of each
}

// mailbox keeps, of all that an owner was told since it last looked, what still matters: so it is bounded.
type mailbox struct {
	wake chan struct{}

	mu     sync.Mutex
	latest wish // the newest wanted state
	start  wish // the newest start, which carries the recipe that a later stop lacks
	rest   mail
}

func newMailbox() *mailbox { return &mailbox{wake: make(chan struct{}, 1)} }

func (b *mailbox) put(m mail) {
	b.mu.Lock()
	if m.want != "" && (b.latest.want == "" || newerWish(m.wish, b.latest)) {
		b.latest = m.wish
	}
	if m.start != nil && (b.start.start == nil || newerWish(m.wish, b.start)) {
		b.start = m.wish
	}
	b.rest.changed = b.rest.changed || m.changed
	b.rest.revived = b.rest.revived || m.revived
	b.rest.heard = b.rest.heard || m.heard
	b.rest.judge = b.rest.judge || m.judge
	for _, order := range m.volumes {
		b.rest.volumes = newest(b.rest.volumes, order)
	}
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// take empties the box: the start and the wish in the order in which they are to be followed, and what else was told.
func (b *mailbox) take() (wishes []wish, rest mail) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.start.want != "" {
		wishes = append(wishes, b.start)
	}
	if b.latest.want != "" && b.latest.start == nil {
		wishes = append(wishes, b.latest)
	}
	rest = b.rest
	b.latest, b.start, b.rest = wish{}, wish{}, mail{}
	return wishes, rest
}

// maxChanges bounds the changes of volumes that are kept for an instance; the controller repeats what is not answered.
const maxChanges = 4 * cluster.MaxVolumesPerInstance

// newest adds a change of a volume to those of others, in the place of an older one.
func newest(all map[string]payload.VolumeOrder, order payload.VolumeOrder) map[string]payload.VolumeOrder {
	if all == nil {
		all = map[string]payload.VolumeOrder{}
	}
	before, known := all[order.Volume.ID]
	if known && before.Change.Revision < order.Change.Revision || !known && len(all) < maxChanges {
		all[order.Volume.ID] = order
	}
	return all
}

func newerWish(a, b wish) bool {
	m := machine{want: b.want, generation: b.generation}
	return m.newer(a.want, a.generation)
}
