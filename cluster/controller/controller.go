package controller

import (
	"context"
	"log/slog"
	"time"

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

// Config is what a controller is made of. Store is required. Link and Issuer may be set with Attach, because a link wants its
// handler first.
type Config struct {
	Store  store.Store // opened with Schema
	Issuer Issuer
	Logger *slog.Logger // nil logs nothing
	Timing Timing
	// Domain is the DNS domain of tenants' instances; empty is DefaultDomain.
	Domain string
	// MaxEvents is how many events are kept; 0 is DefaultMaxEvents.
	MaxEvents int
}

// Timing are the controller's deadlines. Zero fields take their defaults; Scale multiplies all, given or default.
type Timing struct {
	Scale       float64       // 0 is 1
	Answer      time.Duration // a command without an answer is sent again; 5 s
	Poll        time.Duration // a start that is under way is asked about again; 15 s
	NodeGrace   time.Duration // a silent node's instances are missing after this time; 30 s
	Queue       time.Duration // an instance that fits nowhere fails after this time; 30 s
	Network     time.Duration // an instance whose CNCI does not come up fails after this time; 60 s
	CNCIIdle    time.Duration // a CNCI without instances is removed after this time; 5 min
	CNCIRestart time.Duration // a failed CNCI is started again after this time; 5 s
	Refresh     time.Duration // nodes are told the paths of their subnets again; 30 s
}
