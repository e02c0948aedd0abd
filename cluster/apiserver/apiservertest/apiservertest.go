// Package apiservertest gives tests a real API: a real controller on a store in memory, behind real TLS on loopback, with
// certificates for an operator, two tenants, a stranger and a daemon. New has no nodes: instances stay pending; NewCluster has one.
package apiservertest

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/apiserver"
	"github.com/ciaocloud/ciao/cluster/blob"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/cluster/controller"
	"github.com/ciaocloud/ciao/cluster/store"
	"github.com/ciaocloud/ciao/cluster/store/backup"
	"github.com/ciaocloud/ciao/cluster/store/memstore"
	"github.com/ciaocloud/ciao/ssntp"
	"github.com/ciaocloud/ciao/ssntp/certs"
)

// Ids of the tenants that exist.
const (
	Blue  = "11111111-1111-4111-8111-111111111111"
	Green = "22222222-2222-4222-8222-222222222222"
)

const revokedFile = "revoked.pem"

// API is a running API.
type API struct {
	Address    string // host:port
	Controller *controller.Controller
	Authority  *certs.Authority
	directory  string
	state      *store.DB
	t          *testing.T
}

// patience is how long a test waits for what must come, on a machine that has much else to do.
const patience = time.Minute

// Until waits until something holds, which is looked at after each change of what the controller knows. It ends the test if that does not come.
func (a *API) Until(what string, holds func() bool) {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), patience)
	defer cancel()
	for range a.state.Watch(ctx, store.WatchOptions{}) { // it begins with a look at what is there
		if holds() {
			return
		}
	}
	a.t.Fatalf("waited in vain until %s", what)
}

// New starts an API without nodes that ends with the test.
func New(t *testing.T) *API {
	t.Helper()
	a := newAPI(t)
	a.Controller.Attach(nowhere{}, nil)
	a.background(a.Controller.Run)
	return a
}

// newAPI starts an API whose controller does not lead yet.
func newAPI(t *testing.T) *API {
	t.Helper()
	state, err := memstore.Open(context.Background(), controller.Schema(), nil)
	must(t, err)
	t.Cleanup(func() { must(t, state.Close()) })
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	blobs, err := blob.Open(t.TempDir())
	must(t, err)
	service, err := controller.New(controller.Config{Store: state, Address: listener.Addr().String(), Blobs: blobs, MaxImage: 64 << 20})
	must(t, err)
	authority, err := certs.NewAuthority("test", 0)
	must(t, err)
	directory := t.TempDir()
	revoked, err := certs.WatchRevocations(filepath.Join(directory, revokedFile), authority.Certificate, slog.New(slog.DiscardHandler))
	must(t, err)
	a := &API{Address: listener.Addr().String(), Controller: service, Authority: authority, directory: directory, state: state, t: t}
	web := a.issue(certs.Web("127.0.0.1", "localhost"))
	server := apiserver.New(apiserver.Config{
		UseCases: service, Snapshot: snapshots(state), ClientCAs: authority.Pool(), Admit: revoked.Check, JudgeAgain: 20 * time.Millisecond, Version: "test",
		Certificate: func() (tls.Certificate, error) {
			pair, err := web()
			return *pair, err
		},
	})
	a.background(func(ctx context.Context) error { return server.Run(ctx, listener) })
	for id, name := range map[string]string{Blue: "blue", Green: "green"} {
		_, err := service.CreateTenant(t.Context(), controller.TenantRequest{ID: id, Name: name})
		must(t, err)
	}
	must(t, certs.SaveCertificate(a.CA(), authority.Certificate))
	return a
}

func snapshots(state *store.DB) apiserver.Snapshot {
	return func(ctx context.Context) (func(io.Writer) error, error) { return backup.Begin(ctx, "test", state) }
}

// CA is the file with the authority's certificate.
func (a *API) CA() string { return filepath.Join(a.directory, "ca.pem") }

// Revoked is the file with the list of revoked certificates; there is none at first.
func (a *API) Revoked() string { return filepath.Join(a.directory, revokedFile) }

// User makes a certificate of the API's authority and returns its file.
func (a *API) User(subject certs.Subject) string { return a.UserOf(a.Authority, subject) }

// UserOf makes a certificate of any authority and returns the file with it and its key.
func (a *API) UserOf(authority *certs.Authority, subject certs.Subject) string {
	a.t.Helper()
	pair, err := authority.Issue(subject)
	must(a.t, err)
	directory, err := os.MkdirTemp(a.directory, "user")
	must(a.t, err)
	certificate, key, both := filepath.Join(directory, "c"), filepath.Join(directory, "k"), filepath.Join(directory, "both.pem")
	must(a.t, pair.Save(certificate, key))
	var data []byte
	for _, name := range []string{certificate, key} {
		part, err := os.ReadFile(name)
		must(a.t, err)
		data = append(data, part...)
	}
	must(a.t, os.WriteFile(both, data, 0o600))
	return both
}

// Operator is the file with an operator's certificate.
func (a *API) Operator() string { return a.User(certs.User("root", "admin")) }

// Tenant is the file with a certificate for tenants.
func (a *API) Tenant(ids ...string) string { return a.User(certs.User("someone", ids...)) }

// Daemon is the file with the certificate of a controller.
func (a *API) Daemon() string { return a.User(certs.Node(ssntp.NewID(), ssntp.RoleController)) }

// Client calls the API with a certificate.
func (a *API) Client(certificate string) *client.Client {
	a.t.Helper()
	c, err := client.New(client.Config{Controller: a.Address, Certificate: certificate, CA: a.CA()})
	must(a.t, err)
	a.t.Cleanup(c.Close)
	return c
}

// nowhere is a link on which every frame is lost.
type nowhere struct{}

// Send implements controller.Link.
func (nowhere) Send(context.Context, ssntp.Frame) error { return cluster.ErrUnavailable }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Node is the file with the certificate of a launcher that nothing is placed on.
func (a *API) Node() string { return a.User(certs.Node(ssntp.NewID(), ssntp.RoleAgent)) }

// Get asks for a path with a certificate; the answer's body is closed.
func (a *API) Get(certificate, path string) *http.Response {
	a.t.Helper()
	pair, err := tls.LoadX509KeyPair(certificate, certificate)
	must(a.t, err)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: a.Authority.Pool(), MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}}}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Get("https://" + a.Address + path)
	must(a.t, err)
	must(a.t, response.Body.Close())
	return response
}
