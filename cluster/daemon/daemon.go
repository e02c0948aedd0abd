// Package daemon assembles the cluster's daemons: it is the one place where services meet their adapters.
//
// Each Role reads what it needs from the cluster file, makes its parts by plain constructors, and runs them under one context: when
// one of them ends, all end, and Run returns when the last has. Whoever supervises the process starts it again.
package daemon

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ciaocloud/ciao/cluster/config"
	"github.com/ciaocloud/ciao/ssntp"
	"github.com/ciaocloud/ciao/ssntp/certs"
)

// Environment is what a daemon is started with.
type Environment struct {
	Config  config.Cluster
	Version string    // of the program
	Log     io.Writer // one line for each record
}

// Role is one kind of daemon.
type Role struct {
	Name    string
	Summary string
	Run     func(context.Context, Environment) error
}

// Roles lists all daemons.
func Roles() []Role {
	return []Role{
		{"controller", "Run a controller: the API, the state, and what drives instances to it", runController},
		{"scheduler", "Run the scheduler: the hub of all daemons, and placement", runScheduler},
		{"launcher", "Run a launcher: a node that runs instances", runLauncher},
		{"cnci", "Run the agent of one CNCI; a launcher starts it", runCNCI},
	}
}

// part is one of the things that a daemon runs.
type part func(context.Context) error

// together runs parts until one ends or ctx does, and waits for all. A part that ends by itself without an error ends the daemon
// all the same: each is needed.
func together(ctx context.Context, parts ...part) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, run := range parts {
		group.Go(func() error {
			if err := run(ctx); err != nil {
				return err
			}
			return context.Canceled
		})
	}
	if err := group.Wait(); ctx.Err() == nil || err != context.Canceled {
		return err
	}
	return nil
}

func (e Environment) logger() *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(e.Config.LogLevel)); err != nil {
		level = slog.LevelInfo // config has validated it
	}
	return slog.New(slog.NewTextHandler(e.Log, &slog.HandlerOptions{Level: level}))
}

// scaled multiplies a deadline by the cluster's time scale.
func (e Environment) scaled(d time.Duration) time.Duration {
	return time.Duration(e.Config.TimeScale * float64(d))
}

func (e Environment) limits() ssntp.Limits { return ssntp.Limits{}.Scale(e.Config.TimeScale) }

// client is the configuration of a connection to the scheduler with the named certificate.
func (e Environment) client(certificate, key string, handler ssntp.Handler, logger *slog.Logger) (ssntp.ClientConfig, error) {
	roots, err := certs.LoadPool(e.Config.PKI.CAFile())
	if err != nil {
		return ssntp.ClientConfig{}, err
	}
	revoked, err := e.revocations(logger)
	if err != nil {
		return ssntp.ClientConfig{}, err
	}
	return ssntp.ClientConfig{
		Addresses: e.Config.Scheduler.Addresses, Certificate: certs.Source(certificate, key, logger), Roots: roots, Admit: revoked.Admit,
		Handler: handler, Limits: e.limits(), Logger: logger,
	}, nil
}

// certificate is the source of a certificate in the form that crypto/tls wants for a server.
func certificate(source func() (*tls.Certificate, error)) func() (tls.Certificate, error) {
	return func() (tls.Certificate, error) {
		pair, err := source()
		if err != nil {
			return tls.Certificate{}, err
		}
		return *pair, nil
	}
}

// listenPatience is how long a daemon waits for an address that another process still holds: its predecessor may be ending.
const listenPatience = 5 * time.Second

// listen binds a TCP address.
func listen(ctx context.Context, address, key string) (net.Listener, error) {
	ctx, cancel := context.WithTimeout(ctx, listenPatience)
	defer cancel()
	for {
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
		if err == nil {
			return listener, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%s in the cluster file is %s, which cannot be used: %w; end what uses it (`ss -ltnp` shows it) or choose another", key, address, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
