package cnci

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/ciaocloud/ciao/cluster/network"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/ssntp"
)

// Link sends frames to the cluster; *ssntp.Client is one.
type Link interface {
	Send(ctx context.Context, frame ssntp.Frame) error
}

// Config is what an agent is made from.
type Config struct {
	Instance  string // id of the CNCI
	Directory string // the newest wanted state is kept here; made if absent
	Network   network.ConcentratorNetwork
	Facts     network.ConcentratorFacts // what is known before anything is wanted
	Link      Link
	Blocked   []netip.Prefix // destinations that tenants must not reach, beside the underlay
	Repair    time.Duration  // how often the network is compared with what is wanted; zero is a minute
	Log       *slog.Logger   // nil logs nothing
}

// Limits of waiting.
const (
	defaultRepair = time.Minute
	applyLimit    = time.Minute
	reportLimit   = 10 * time.Second
	firstRetry    = time.Second
	lastRetry     = 30 * time.Second
)

// Agent is the concentrator agent. Connected and Receive may be called from any goroutine, before Run too.
type Agent struct {
	config Config
	wake   chan struct{} // holds a token when there is something to do

	mu       sync.Mutex
	received *payload.Concentrator // the newest that Run has not seen yet
	report   bool                  // somebody wants to know our state

	// What follows is Run's alone.
	next    *payload.Concentrator // a newer one that is to be stored; nil when there is none
	wanted  *payload.Concentrator // the newest that is stored
	applied uint64                // revision of the newest that is applied
	facts   network.ConcentratorFacts
	problem string
	retry   time.Duration // until the next attempt; zero when there is nothing to repeat
}

// New makes an agent; Run starts it.
func New(config Config) *Agent {
	if config.Repair == 0 {
		config.Repair = defaultRepair
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	return &Agent{config: config, facts: config.Facts, wake: make(chan struct{}, 1)}
}

// Connected tells the agent that its link is up, for the first time or again: it reports its state. It never blocks.
func (a *Agent) Connected() { a.post(nil) }

// Receive takes a frame from the link. It never blocks. Frames that are not for a concentrator are logged and forgotten.
func (a *Agent) Receive(frame ssntp.Frame) {
	if frame.Operand != ssntp.Configure {
		a.config.Log.Warn("a frame that is not for a CNCI", "operand", frame.Operand)
		return
	}
	configure, err := payload.Decode[payload.Configure](frame.Payload)
	if err != nil {
		a.config.Log.Warn("a wanted state that cannot be read", "err", err)
		return
	}
	if configure.Concentrator != nil {
		a.post(configure.Concentrator)
	}
}

// post leaves word for Run: a state if it is the newest, and that a report is due.
func (a *Agent) post(state *payload.Concentrator) {
	a.mu.Lock()
	if state != nil && (a.received == nil || state.Revision > a.received.Revision) {
		a.received = state
	}
	a.report = true
	a.mu.Unlock()
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

func (a *Agent) take() (state *payload.Concentrator, report bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	state, report = a.received, a.report
	a.received, a.report = nil, false
	return state, report
}
