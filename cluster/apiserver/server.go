// Package apiserver serves ciao's HTTP interface (package api) from the use cases of package controller.
//
// It is a border and nothing else: it finds out who calls, which tenant the call is for, and whether the caller may; it translates
// types and errors in both directions; the OpenAPI 3.1 document at /openapi.json is made from the same declarations.
//
// What is guaranteed: nothing is answered to a caller without a valid certificate of the cluster's authority; a tenant sees and
// changes only its own things; requests are bounded in size and time; every error is a problem details document (RFC 9457). Run
// returns when every connection is closed, at most a few seconds after its context ended.
package apiserver

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/stream"
)

// Bounds of a connection.
const (
	headerTimeout   = 10 * time.Second
	bodyTimeout     = 60 * time.Second
	idleTimeout     = 2 * time.Minute
	shutdownTimeout = 5 * time.Second
	maxHeaderBytes  = 64 << 10
)

// Config is what a server is made of; every field is required but Admit, JudgeAgain, Version and Logger.
type Config struct {
	UseCases    UseCases
	Snapshot    Snapshot
	Certificate func() (tls.Certificate, error) // asked at each handshake, so that it can be renewed
	ClientCAs   *x509.CertPool                  // that users' certificates must lead to
	Admit       func(*x509.Certificate) error   // may refuse a valid certificate, for revocation; asked at each request, and while it lasts
	JudgeAgain  time.Duration                   // how often a request that lasts is judged again; 0 is 5 s
	Version     string                          // of the program, for the OpenAPI document
	Logger      *slog.Logger
}

// Server answers the API.
type Server struct {
	config  Config
	handler http.Handler
	logger  *slog.Logger
	running running
	carried carried // requests that have become WebSockets: the HTTP server does not wait for these
}

// New makes a server that does nothing until Run.
func New(config Config) *Server {
	useProblems()
	config.JudgeAgain = cmp.Or(config.JudgeAgain, judgeAgain)
	s := &Server{config: config, logger: config.Logger, running: running{requests: map[*request]struct{}{}}}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	mux := http.NewServeMux()
	s.register(humago.New(mux, openAPI(config.Version)))
	mux.Handle("GET /metrics", s.metrics())
	all := http.NewServeMux()
	all.HandleFunc("GET "+stream.Path+"{id}", s.joinStream)
	all.HandleFunc("GET "+api.BlobPath+"{digest}", s.readBlob)
	all.Handle("/", s.authenticate(ownPagesOnly(mux)))
	s.handler = patiently(all)
	return s
}

// ownPagesOnly refuses changes that a page of another site has a browser ask for: the browser shows its user's certificate for them, too.
// Programs that are no browsers do not say where they come from, and pass.
func ownPagesOnly(next http.Handler) http.Handler {
	protection := http.NewCrossOriginProtection()
	protection.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		writeProblem(w, api.ProblemOf(fmt.Errorf("%w: a page of another site asks for this; open the cluster's own address instead", cluster.ErrPermission)))
	}))
	return protection.Handler(next)
}

// Run serves connections of the listener until ctx ends.
func (s *Server) Run(ctx context.Context, listener net.Listener) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	// Requests outlive ctx by the time that a shutdown gives them, streams do not: they hang on this one.
	streams, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	server := &http.Server{
		Handler:           s.handler,
		BaseContext:       func(net.Listener) context.Context { return streams },
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       bodyTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		HTTP2:             &http.HTTP2Config{WriteByteTimeout: stream.Patience}, // of the connection itself
		ErrorLog:          slog.NewLogLogger(s.logger.Handler(), slog.LevelDebug),
		TLSConfig:         s.tlsConfig(),
	}
	var stopping sync.WaitGroup
	stopping.Go(func() { s.judge(streams) })
	stopping.Go(func() {
		<-ctx.Done()
		stop()
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		if server.Shutdown(last) != nil {
			_ = server.Close() // it reports the listener's error, which Shutdown had
		}
	})
	err := server.ServeTLS(listener, "", "")
	end() // a listener that broke ends everything, too
	stopping.Wait()
	s.carried.wait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve the API on %s: %w", listener.Addr(), err)
}

// tlsConfig asks for any client certificate and leaves the judgement to authenticate, which can say in words what is wrong with it. It
// names no authorities: a caller with a certificate of another one would then send none, and be told the wrong thing.
func (s *Server) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		ClientAuth: tls.RequestClientCert,
		NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			certificate, err := s.config.Certificate()
			return &certificate, err
		},
	}
}

func openAPI(version string) huma.Config {
	config := huma.DefaultConfig("ciao", version)
	config.Info.Description = "Virtual machines, containers and processes of many tenants, each on its own isolated network."
	config.DocsPath = "" // the page would load its code from elsewhere
	config.CreateHooks = nil
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"certificate": {Type: "mutualTLS", Description: "Organization holds the ids of the tenants that the caller may act for, or " + api.Admin + "."},
	}
	config.Security = []map[string][]string{{"certificate": {}}}
	return config
}

func (s *Server) register(a huma.API) {
	s.registerInstances(a)
	s.registerWorkloads(a)
	s.registerImages(a)
	s.registerVolumes(a)
	s.registerSSHKeys(a)
	s.registerExternalIPs(a)
	s.registerTenants(a)
	s.registerNodes(a)
	s.registerEvents(a)
	s.registerWatch(a)
	s.registerStore(a)
	s.registerStreams(a)
}
