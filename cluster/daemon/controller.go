package daemon

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/ciaocloud/ciao/cluster/apiserver"
	"github.com/ciaocloud/ciao/cluster/blob"
	"github.com/ciaocloud/ciao/cluster/config"
	"github.com/ciaocloud/ciao/cluster/controller"
	"github.com/ciaocloud/ciao/cluster/store"
	"github.com/ciaocloud/ciao/cluster/store/backup"
	"github.com/ciaocloud/ciao/ssntp"
	"github.com/ciaocloud/ciao/ssntp/certs"
)

// concentratorLifetime is how long a CNCI's certificate is valid; its launcher renews it.
const concentratorLifetime = 30 * 24 * time.Hour

func runController(ctx context.Context, e Environment) error {
	logger := e.logger()
	if _, err := e.identity(e.Config.PKI.CertificateFile(config.ControllerCertificate), e.Config.PKI.KeyFile(config.ControllerCertificate), ssntp.RoleController); err != nil {
		return err
	}
	listener, err := listen(ctx, e.Config.Controller.Listen, "controller.listen")
	if err != nil {
		return err
	}
	defer listener.Close()
	state, err := e.openStore(ctx, logger)
	if err != nil {
		return err
	}
	defer state.Close()
	service, link, err := e.controller(state, logger)
	if err != nil {
		return err
	}
	server, err := e.apiServer(service, state, logger)
	if err != nil {
		return err
	}
	logger.Info("controller runs", "api", listener.Addr().String(), "version", e.Version)
	return together(ctx, service.Run, link.Run, service.ShareRevocations,
		func(ctx context.Context) error { return server.Run(ctx, listener) },
		func(ctx context.Context) error { return alive(ctx, state) })
}

// alive ends when the store can no longer work, as after a disk failure: a new process may.
func alive(ctx context.Context, state *store.DB) error {
	select {
	case <-ctx.Done():
		return nil
	case <-state.Done():
		return fmt.Errorf("the store gave up: %w", state.Err())
	}
}

// uploadReserve is what uploads leave of the disk, which the embedded store is on, too: that takes nothing any more below 64 MiB.
const uploadReserve = 96 << 20

// controller makes the controller with its connection to the scheduler.
func (e Environment) controller(state store.Store, logger *slog.Logger) (*controller.Controller, *ssntp.Client, error) {
	timing := controller.Timing{
		Scale: e.Config.TimeScale, NodeGrace: time.Duration(e.Config.Controller.NodeGrace),
		Queue: time.Duration(e.Config.Controller.Queue), CNCIIdle: time.Duration(e.Config.Controller.CNCIIdle),
	}
	pki := e.Config.PKI
	authority, err := certs.LoadAuthority(pki.CAFile(), pki.CAKeyFile())
	if err != nil {
		return nil, nil, err
	}
	if e.Config.Controller.Address == "" {
		logger.Warn("no logs, no commands and no uploaded images: controller.listen names no host, so set controller.address in the cluster file to where nodes reach this controller")
	}
	blobs, err := blob.Open(e.Config.Controller.ImagesDirectory())
	if err != nil {
		return nil, nil, err
	}
	blobs.Reserve = uploadReserve
	revoked, err := e.revocations(logger)
	if err != nil {
		return nil, nil, err
	}
	service, err := controller.New(controller.Config{
		Store: state, Revocations: revoked, Logger: logger, Timing: timing, Address: e.Config.Controller.Address, Overcommit: e.overcommit(), Disks: e.Config.Storage.Disks(), Blobs: blobs, MaxImage: e.Config.Controller.MaxImage << 20,
	})
	if err != nil {
		return nil, nil, err
	}
	settings, err := e.client(pki.CertificateFile(config.ControllerCertificate), pki.KeyFile(config.ControllerCertificate), service, logger)
	if err != nil {
		return nil, nil, err
	}
	link, err := ssntp.NewClient(settings)
	if err != nil {
		return nil, nil, fmt.Errorf("make the controller's link: %w", err)
	}
	service.Attach(link, issuer{authority})
	return service, link, nil
}

func (e Environment) apiServer(service *controller.Controller, state *store.DB, logger *slog.Logger) (*apiserver.Server, error) {
	pki := e.Config.PKI
	clients, err := certs.LoadPool(pki.CAFile())
	if err != nil {
		return nil, err
	}
	source := certs.Source(pki.CertificateFile(config.APICertificate), pki.KeyFile(config.APICertificate), logger)
	if _, err := source(); err != nil { // now, rather than at the first call
		return nil, err
	}
	revoked, err := e.revocations(logger)
	if err != nil {
		return nil, err
	}
	return apiserver.New(apiserver.Config{
		UseCases: service, Certificate: certificate(source), ClientCAs: clients, Admit: revoked.Check, Version: e.Version, Logger: logger,
		Snapshot: func(ctx context.Context) (func(io.Writer) error, error) {
			return backup.Begin(ctx, e.Config.Name, state)
		},
	}), nil
}

// issuer signs the certificates of CNCIs with the cluster's authority.
type issuer struct{ authority *certs.Authority }

// Issue implements controller.Issuer.
func (i issuer) Issue(_ context.Context, id string, csr []byte) ([]byte, error) {
	parsed, err := ssntp.ParseID(id)
	if err != nil {
		return nil, err
	}
	subject := certs.Node(parsed, ssntp.RoleCNCIAgent)
	subject.Lifetime = concentratorLifetime
	return i.authority.Sign(csr, subject)
}
