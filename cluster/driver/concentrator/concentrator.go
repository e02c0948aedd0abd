package concentrator

import (
	"context"
	"log/slog"
	"time"
)

// Namespaces makes the network namespaces of concentrators. Every call may be repeated.
type Namespaces interface {
	// Create makes the namespace of a concentrator, or finds it, and returns its path.
	Create(ctx context.Context, id string) (path string, err error)
	// Remove removes it with everything in it; one that is not there is no error.
	Remove(ctx context.Context, id string) error
	// List names the concentrators of this node that have a namespace.
	List(ctx context.Context) ([]string, error)
}

// Issuer has certificates signed; the launcher asks the controller.
type Issuer interface {
	// Issue returns a certificate chain (PEM, leaf first) for a concentrator's request (PKCS #10, DER).
	Issue(ctx context.Context, instance string, csr []byte) (chain []byte, err error)
}

// Agent is one concentrator's agent, as its command needs to know it.
type Agent struct {
	Instance    string // the concentrator's instance id
	Tenant      string
	Directory   string // its own, mode 0700; the command may keep files there
	Certificate string // file with its certificate chain
	Key         string // file with its private key
	Namespace   string // path of the network namespace that it runs in
}

// Config says how the driver works; everything but TimeScale and Logger is required.
type Config struct {
	// Instances is the directory that holds a directory for each instance, named by its id.
	Instances  string
	Namespaces Namespaces
	Issuer     Issuer
	// Command is the program and arguments of an agent. It may write files into the agent's directory first, and gives equal answers for
	// equal agents.
	Command   func(agent Agent) ([]string, error)
	TimeScale float64 // multiplies every deadline; default 1
	Logger    *slog.Logger
}

const defaultDeadline = 30 * time.Second
