package controller

import (
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"sync"

	"github.com/google/uuid"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/cluster/stream"
	"github.com/ciaocloud/ciao/ssntp"
)

// streams are those that wait for their node, and how many each tenant has.
type streams struct {
	mu      sync.Mutex
	waiting map[string]*offer
	open    map[string]int
}

func newStreams() *streams { return &streams{waiting: map[string]*offer{}, open: map[string]int{}} }

// offer is a stream as it waits for its node.
type offer struct {
	id, secret string
	node       string
	tenant     string
	joined     chan stream.Conn
	failed     chan error    // has room for one
	over       chan struct{} // closed when the user's side needs the node no more
}

// fail tells who waits that it is in vain.
func (o *offer) fail(err error) {
	select {
	case o.failed <- err:
	default: // it knows already
	}
}

// offer reserves one of the tenant's streams.
func (s *streams) offer(instance cluster.Instance) (*offer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[instance.Tenant] >= MaxStreams {
		return nil, fmt.Errorf("%w: the tenant has %d logs and commands open, which is the most; end one first", cluster.ErrOverQuota, MaxStreams)
	}
	s.open[instance.Tenant]++
	o := &offer{
		id: uuid.NewString(), secret: rand.Text(), node: instance.Node, tenant: instance.Tenant,
		joined: make(chan stream.Conn), failed: make(chan error, 1), over: make(chan struct{}),
	}
	s.waiting[o.id] = o
	return o, nil
}

// claim takes a stream out of those that wait: a secret is good once.
func (s *streams) claim(node, id, secret string) *offer {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.waiting[id]
	if o == nil || o.node != node || subtle.ConstantTimeCompare([]byte(o.secret), []byte(secret)) != 1 {
		return nil
	}
	delete(s.waiting, id)
	return o
}

// end is called once for each offer.
func (s *streams) end(o *offer) {
	close(o.over)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waiting, o.id)
	if s.open[o.tenant]--; s.open[o.tenant] == 0 {
		delete(s.open, o.tenant)
	}
}

// refused fails the stream whose command the hub did not pass on.
func (s *streams) refused(refusal ssntp.Refusal) error {
	command, err := payload.Decode[payload.OpenStream](refusal.Payload)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.waiting[command.Stream]; o != nil {
		o.fail(fmt.Errorf("%w: the instance's node is not connected, or too busy; try again, and see `ciao list nodes` (operator)", cluster.ErrUnavailable))
	}
	return nil
}

// joined is a node's connection whose end is the stream's.
type joined struct {
	stream.Conn
	once sync.Once
	end  func()
}

// Close implements stream.Conn.
func (j *joined) Close() {
	j.once.Do(func() {
		j.Conn.Close()
		j.end()
	})
}
