package controller

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/cluster/store"
	"github.com/ciaocloud/ciao/ssntp"
)

// Link is the connection to the scheduler; *ssntp.Client is one. The Controller is the link's ssntp.Handler.
type Link interface {
	// Send queues a frame. The controller treats an error like a lost frame.
	Send(ctx context.Context, frame ssntp.Frame) error
}

// Issuer signs the certificates of CNCI agents.
type Issuer interface {
	// Issue returns the chain (PEM, leaf first) for a PKCS #10 request (DER): role cnciagent, node id id.
	Issue(ctx context.Context, id string, csr []byte) (chain []byte, err error)
}

// Config is what a controller is made of. Store is required.
type Config struct {
	Store  store.Store  // opened with Schema
	Logger *slog.Logger // nil logs nothing
	Timing Timing
	// Overcommit is the cluster's; zero is cluster.DefaultOvercommit.
	Overcommit cluster.Overcommit
	// Domain is the DNS domain of tenants' instances; empty is DefaultDomain.
	Domain string
	// MaxEvents is how many events are kept; 0 is DefaultMaxEvents.
	MaxEvents int
	// Address is where nodes reach this controller's API, host:port; without it there are neither logs nor commands.
	Address string
	// Blobs keeps the contents of images; nil is a cluster without uploaded images.
	Blobs Blobs
	// MaxImage is the most bytes of an image; 0 is DefaultMaxImage.
	MaxImage int64
	// Disks is where new disks of VMs are kept; empty is cluster.StorageLocal.
	Disks cluster.Storage
	// Revocations is the list of revoked certificates, which the scheduler and the nodes are told of; nil is none.
	Revocations Revocations
}

// Revocations is what the controller needs of the list of revoked certificates.
type Revocations interface {
	// List is the list in force, DER; nil without one. It is asked every second.
	List() []byte
	// Take brings a list in force that came from elsewhere, unless it is older than the one in force. Its error says that the list is not the
	// authority's, or was not kept.
	Take(list []byte) error
	// Newer says that the list in force, if there is one, ought to take the place of another.
	Newer(than []byte) bool
}

// DefaultMaxImage is the most bytes of an image when Config does not say: 64 GiB.
const DefaultMaxImage = 64 << 30

// DefaultDomain is the DNS domain of tenants' instances. Each subnet has its own DNS, so that tenants may share it; .internal is
// reserved for private use.
const DefaultDomain = "ciao.internal"

// Timing are the controller's deadlines. Zero fields take their defaults; Scale multiplies all, given or default.
type Timing struct {
	Scale       float64       // 0 is 1
	Answer      time.Duration // a command without an answer: its node is asked, and sent again what it has not got; the scheduler is sent a placement again; 5 s
	Poll        time.Duration // a node is asked about a start or a deletion that is under way; 15 s
	PlaceAgain  time.Duration // an instance that fitted nowhere is tried again; 1 s
	Queue       time.Duration // an instance that fits nowhere fails after this time; 30 s
	NodeGrace   time.Duration // a silent node's instances are missing after this time; 30 s
	Network     time.Duration // an instance whose CNCI does not come up fails after this time; 60 s
	Settle      time.Duration // a CNCI's wanted state waits this long for the last instances to be placed; 50 ms
	CNCIIdle    time.Duration // a CNCI without instances is removed after this time; 5 min
	CNCIRestart time.Duration // a failed CNCI is started again after this time, then twice it and so on; 5 s
	Refresh     time.Duration // nodes are told the paths of their subnets, and asked for their inventory; 60 s
	Stream      time.Duration // a log or a command fails when the node has not joined after this time; 10 s
}

func (t Timing) withDefaults() Timing {
	scale := t.Scale
	if scale <= 0 {
		scale = 1
	}
	for _, d := range []struct {
		value *time.Duration
		usual time.Duration
	}{
		{&t.Answer, 5 * time.Second}, {&t.Poll, 15 * time.Second}, {&t.PlaceAgain, time.Second}, {&t.Queue, 30 * time.Second},
		{&t.NodeGrace, 30 * time.Second}, {&t.Network, time.Minute}, {&t.Settle, 50 * time.Millisecond},
		{&t.CNCIIdle, 5 * time.Minute}, {&t.CNCIRestart, 5 * time.Second}, {&t.Refresh, time.Minute},
		{&t.Stream, 10 * time.Second},
	} {
		if *d.value <= 0 {
			*d.value = d.usual
		}
		*d.value = time.Duration(float64(*d.value) * scale)
	}
	t.Scale = 1
	return t
}

// Controller has the use cases as methods, which may be called from many goroutines, whether Run runs or not.
type Controller struct {
	store       store.Store
	link        Link
	issuer      Issuer
	logger      *slog.Logger
	timing      Timing
	overcommit  cluster.Overcommit
	disks       cluster.Storage
	domain      string
	maxEvents   int
	address     string
	blobs       Blobs
	revocations Revocations
	maxImage    int64
	sweeping    sync.RWMutex // held for writing while contents of images are removed

	streams  *streams
	samples  *samples
	progress *progress
	counters counters
	traces   traces
	leader   atomic.Pointer[mailbox]
	linked   atomic.Bool

	mu      sync.Mutex
	refused map[string]time.Time // when a tenant's refusal was last recorded
}

var _ ssntp.Handler = (*Controller)(nil)

// New makes a controller.
func New(config Config) (*Controller, error) {
	if config.Store == nil {
		return nil, errors.New("controller: a store is needed")
	}
	c := &Controller{
		store: config.Store, logger: config.Logger, timing: config.Timing.withDefaults(),
		overcommit: config.Overcommit, disks: config.Disks, domain: config.Domain, maxEvents: config.MaxEvents, address: config.Address, blobs: config.Blobs, revocations: config.Revocations, maxImage: config.MaxImage,
		streams: newStreams(), samples: newSamples(), progress: newProgress(), refused: map[string]time.Time{},
	}
	if c.logger == nil {
		c.logger = slog.New(slog.DiscardHandler)
	}
	if c.overcommit == (cluster.Overcommit{}) {
		c.overcommit = cluster.DefaultOvercommit()
	}
	if c.domain == "" {
		c.domain = DefaultDomain
	}
	if c.maxImage == 0 {
		c.maxImage = DefaultMaxImage
	}
	if c.maxEvents == 0 {
		c.maxEvents = DefaultMaxEvents
	}
	return c, nil
}

// Attach gives the controller what Run needs, before Run is called: the link, which itself wants the controller as its handler, and
// the issuer (nil refuses all certificates).
func (c *Controller) Attach(link Link, issuer Issuer) { c.link, c.issuer = link, issuer }

// Run leads: it drives every instance to its desired state over the link until ctx ends, and then returns nil, or until the store
// fails. At most one controller of a cluster may be in Run at a time; it may be called again.
func (c *Controller) Run(ctx context.Context) error {
	if c.link == nil {
		return errors.New("controller: no link was attached")
	}
	box := newMailbox()
	if !c.leader.CompareAndSwap(nil, box) {
		return errors.New("controller: it is running already")
	}
	defer c.leader.Store(nil)
	defer box.close()
	r := newReconciler(c, c.link, box)
	defer r.tasks.Wait()
	if c.blobs != nil {
		if err := c.sweepImages(ctx); err != nil {
			c.logger.Warn("cannot remove contents of images that are gone", slog.Any("error", err))
		}
	}
	return r.run(ctx)
}

// Connected implements ssntp.Handler.
func (c *Controller) Connected(ctx context.Context, _ ssntp.Identity, resumed bool) {
	c.linked.Store(true)
	c.post(ctx, message{link: linkUp, resumed: resumed})
}

// Disconnected implements ssntp.Handler.
func (c *Controller) Disconnected(ctx context.Context, _ error) {
	c.linked.Store(false)
	c.post(ctx, message{link: linkDown})
}

// Receive implements ssntp.Handler. It blocks while the reconciler is behind, and drops what only a leader needs when this controller
// is none.
func (c *Controller) Receive(ctx context.Context, f ssntp.Frame) {
	c.counters.received(f.Operand)
	m := message{frame: f}
	switch f.Operand {
	case ssntp.InstanceState:
		m.report = c.receiveReport(f)
	case ssntp.Statistics:
		c.receiveStatistics(f)
	case ssntp.Progress:
		c.receiveProgress(ctx, f)
	case ssntp.Undeliverable:
		c.receiveRefusal(f)
	case ssntp.TraceReport:
		c.receiveTraces(f)
		return
	case ssntp.InvalidFrame, ssntp.NotAuthorized:
		c.logger.Debug("frame", slog.Any("operand", f.Operand), slog.Any("source", f.Source))
		return
	}
	c.post(ctx, m)
}

func (c *Controller) post(ctx context.Context, m message) {
	if box := c.leader.Load(); box != nil {
		box.post(ctx, m)
	}
}

// receiveReport returns nil for one that cannot be read: a sign of life all the same.
func (c *Controller) receiveReport(f ssntp.Frame) *payload.InstanceReport {
	body, err := payload.Decode[payload.InstanceReport](f.Payload)
	if err != nil {
		c.unreadable(f, err)
		return nil
	}
	return &body
}

func (c *Controller) receiveStatistics(f ssntp.Frame) {
	body, err := payload.Decode[payload.Statistics](f.Payload)
	if err != nil {
		c.unreadable(f, err)
		return
	}
	now := time.Now().UTC()
	c.samples.hear(f.Source.String(), now)
	body.Sample.Time = now
	c.samples.put(f.Source.String(), body.Sample)
}

func (c *Controller) receiveProgress(ctx context.Context, f ssntp.Frame) {
	if c.progress.idle() {
		return
	}
	body, err := payload.Decode[payload.Progress](f.Payload)
	if err != nil {
		c.unreadable(f, err)
		return
	}
	err = c.view(ctx, func(r store.Reader) error {
		instance, err := instances.Get(r, body.Instance)
		if err == nil && instance.Node == f.Source.String() && !instance.Host() {
			c.progress.publish(Change{Kind: ChangeProgress, ID: instance.ID, Instance: &instance, Progress: &Progress{
				Instance: instance.ID, Step: clip(body.Step), Percent: body.Percent, Message: clip(body.Message),
			}})
		}
		return nil
	})
	if err != nil {
		c.logger.Debug("cannot pass on progress", slog.Any("error", err))
	}
}

func (c *Controller) unreadable(f ssntp.Frame, err error) {
	c.logger.Warn("cannot read a frame", slog.Any("operand", f.Operand), slog.Any("source", f.Source), slog.Any("error", err))
}
