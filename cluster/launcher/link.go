package launcher

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
	"github.com/ciaocloud/ciao/ssntp"
)

// client is what a Link needs of *ssntp.Client.
type client interface {
	Identity() ssntp.Identity
	Run(ctx context.Context) error
	Send(ctx context.Context, f ssntp.Frame) error
}

// Link is a launcher's way to the rest of the cluster. It is made before the launcher, for drivers may need it: it has certificates
// issued. Its methods may be called from many goroutines.
type Link struct {
	client client

	mu       sync.Mutex
	launcher *Launcher
	requests map[string]chan payload.Certificate // by instance
}

// askAgain is how long a request for a certificate waits for its answer before it is sent again.
const askAgain = 5 * time.Second

// NewLink makes the connection's client; the launcher runs it. config.Handler is the link's own.
func NewLink(config ssntp.ClientConfig) (*Link, error) {
	l := &Link{requests: map[string]chan payload.Certificate{}}
	config.Handler = handler{l}
	made, err := ssntp.NewClient(config)
	if err != nil {
		return nil, fmt.Errorf("make the launcher's link: %w", err)
	}
	l.client = made
	return l, nil
}

// roles are what the certificate lets the node be.
func (l *Link) roles() []cluster.NodeRole {
	var roles []cluster.NodeRole
	granted := l.client.Identity().Roles
	if granted&ssntp.RoleAgent != 0 {
		roles = append(roles, cluster.Compute)
	}
	if granted&ssntp.RoleNetAgent != 0 {
		roles = append(roles, cluster.Network)
	}
	return roles
}

func (l *Link) send(ctx context.Context, operand ssntp.Operand, destination ssntp.ID, body any) error {
	data, err := payload.Encode(body)
	if err != nil {
		return err
	}
	return l.client.Send(ctx, ssntp.Frame{Operand: operand, Destination: destination, Payload: data})
}

// Issue has the controller sign a request (PKCS #10, DER) for an instance of this node and returns the chain (PEM, leaf first). It asks
// again until there is an answer or ctx ends. There may be one request at a time for an instance.
func (l *Link) Issue(ctx context.Context, instance string, csr []byte) ([]byte, error) {
	answer := make(chan payload.Certificate, 1)
	if !l.expect(instance, answer) {
		return nil, fmt.Errorf("%w: a certificate for %s is already asked for", cluster.ErrUnavailable, instance)
	}
	defer l.unexpect(instance)
	for {
		if err := l.send(ctx, ssntp.CertificateRequest, ssntp.ID{}, payload.CertificateRequest{Instance: instance, CSR: csr}); err != nil {
			return nil, fmt.Errorf("%w: ask for a certificate for %s: %w", cluster.ErrUnavailable, instance, err)
		}
		select {
		case certificate := <-answer:
			if certificate.Refused != "" {
				return nil, fmt.Errorf("%w: the controller gives %s no certificate: %s", cluster.ErrPermission, instance, certificate.Refused)
			}
			return certificate.Chain, nil
		case <-time.After(askAgain):
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: no controller answered the request for a certificate for %s: %w", cluster.ErrUnavailable, instance, context.Cause(ctx))
		}
	}
}

func (l *Link) expect(instance string, answer chan payload.Certificate) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, asked := l.requests[instance]; asked {
		return false
	}
	l.requests[instance] = answer
	return true
}

func (l *Link) unexpect(instance string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.requests, instance)
}

// answered hands a certificate to whoever asked for it; one that nobody waits for is dropped.
func (l *Link) answered(certificate payload.Certificate) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.requests[certificate.Instance] <- certificate:
	default:
	}
}

// attach gives the link its launcher, before the client runs.
func (l *Link) attach(launcher *Launcher) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.launcher = launcher
}

func (l *Link) attached() *Launcher {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.launcher
}

// handler is the link as ssntp calls it.
type handler struct{ link *Link }

func (h handler) Connected(_ context.Context, _ ssntp.Identity, resumed bool) {
	h.link.attached().outbox.connected(resumed)
}

func (h handler) Disconnected(_ context.Context, reason error) {
	h.link.attached().disconnected(reason)
}

func (h handler) Receive(_ context.Context, f ssntp.Frame) { h.link.attached().receive(f) }
