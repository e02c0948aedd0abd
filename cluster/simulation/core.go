package simulation

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/ciaocloud/ciao/cluster/apiserver"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/cluster/controller"
	"github.com/ciaocloud/ciao/cluster/scheduler"
	"github.com/ciaocloud/ciao/cluster/store"
	"github.com/ciaocloud/ciao/cluster/store/backup"
	"github.com/ciaocloud/ciao/cluster/store/etcdembed"
	"github.com/ciaocloud/ciao/cluster/store/memstore"
	"github.com/ciaocloud/ciao/ssntp"
	"github.com/ciaocloud/ciao/ssntp/certs"
)

// loopback is the host on which everything listens.
const loopback = "127.0.0.1"

func listen(ctx context.Context) (net.Listener, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", loopback+":0")
	if err != nil {
		return nil, fmt.Errorf("listen on the loopback: %w", err)
	}
	return listener, nil
}

// source issues a daemon's certificate, which stays the same.
func (s *simulation) source(id ssntp.ID, roles ssntp.Role, names ...string) (func() (*tls.Certificate, error), error) {
	pair, err := s.authority.Issue(certs.Node(id, roles, names...))
	if err != nil {
		return nil, err
	}
	certificate := pair.TLS()
	return func() (*tls.Certificate, error) { return certificate, nil }, nil
}

// link is the configuration of a daemon's connection to the scheduler.
func (s *simulation) link(id ssntp.ID, roles ssntp.Role, handler ssntp.Handler) (ssntp.ClientConfig, error) {
	certificate, err := s.source(id, roles)
	return ssntp.ClientConfig{
		Addresses: []string{s.scheduler}, Certificate: certificate, Roots: s.authority.Pool(), Handler: handler,
		Limits: s.limits(), Logger: s.logger,
	}, err
}

func (s *simulation) limits() ssntp.Limits { return ssntp.Limits{}.Scale(s.config.TimeScale) }

func (s *simulation) startScheduler(ctx context.Context) error {
	certificate, err := s.source(ssntp.NewID(), ssntp.RoleScheduler, loopback)
	if err != nil {
		return err
	}
	service, err := scheduler.New(scheduler.Config{
		Server:    ssntp.ServerConfig{Certificate: certificate, Roots: s.authority.Pool(), Limits: s.limits(), Logger: s.logger},
		TimeScale: s.config.TimeScale, Logger: s.logger,
	})
	if err != nil {
		return err
	}
	listener, err := listen(ctx)
	if err != nil {
		return err
	}
	s.scheduler, s.hub = listener.Addr().String(), service
	s.parts.Go(func() error { return service.Run(ctx, listener) })
	return nil
}

func (s *simulation) startController(ctx context.Context) (err error) {
	if s.store, err = s.openStore(ctx); err != nil {
		return err
	}
	if s.controller, err = controller.New(controller.Config{Store: s.store, Logger: s.logger, Timing: controller.Timing{Scale: s.config.TimeScale}}); err != nil {
		return err
	}
	settings, err := s.link(ssntp.NewID(), ssntp.RoleController, s.controller)
	if err != nil {
		return err
	}
	link, err := ssntp.NewClient(settings)
	if err != nil {
		return err
	}
	s.controller.Attach(link, nil)
	s.parts.Go(func() error { return link.Run(ctx) })
	s.parts.Go(func() error { return s.controller.Run(ctx) })
	return s.startAPI(ctx)
}

func (s *simulation) openStore(ctx context.Context) (*store.DB, error) {
	if s.config.Memory {
		return memstore.Open(ctx, controller.Schema(), s.logger)
	}
	return etcdembed.Open(ctx, etcdembed.Config{Dir: filepath.Join(s.directory, "etcd"), Log: s.logger}, controller.Schema())
}

func (s *simulation) startAPI(ctx context.Context) error {
	pair, err := s.authority.Issue(certs.Web(loopback))
	if err != nil {
		return err
	}
	server := apiserver.New(apiserver.Config{
		UseCases: s.controller, Certificate: func() (tls.Certificate, error) { return *pair.TLS(), nil },
		ClientCAs: s.authority.Pool(), Logger: s.logger,
		Snapshot: func(ctx context.Context) (func(io.Writer) error, error) {
			return backup.Begin(ctx, "simulation", s.store)
		},
	})
	listener, err := listen(ctx)
	if err != nil {
		return err
	}
	s.api = listener.Addr().String()
	s.parts.Go(func() error { return server.Run(ctx, listener) })
	return nil
}

// operator is a client of the API.
func (s *simulation) operator() (*client.Client, error) {
	pair, err := s.authority.Issue(certs.User("operator", "admin"))
	if err != nil {
		return nil, err
	}
	file := func(name string) string { return filepath.Join(s.directory, name) }
	if err := pair.Save(file("certificate.pem"), file("key.pem")); err != nil {
		return nil, err
	}
	if err := certs.SaveCertificate(file("ca.pem"), s.authority.Certificate); err != nil {
		return nil, err
	}
	if err := join(file("operator.pem"), file("certificate.pem"), file("key.pem")); err != nil {
		return nil, err
	}
	return client.New(client.Config{Controller: s.api, Certificate: file("operator.pem"), CA: file("ca.pem")})
}

// join makes one file of several.
func join(file string, parts ...string) error {
	var all []byte
	for _, part := range parts {
		data, err := os.ReadFile(part)
		if err != nil {
			return err
		}
		all = append(all, data...)
	}
	return os.WriteFile(file, all, 0o600)
}

// await looks until something holds, seldom enough to leave the processors to what is being waited for.
func await(ctx context.Context, holds func() (bool, error)) error {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		if done, err := holds(); done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
	}
}
