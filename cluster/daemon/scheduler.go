package daemon

import (
	"context"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/config"
	"github.com/ciaocloud/ciao/cluster/scheduler"
	"github.com/ciaocloud/ciao/cluster/scheduler/placement"
	"github.com/ciaocloud/ciao/ssntp"
	"github.com/ciaocloud/ciao/ssntp/certs"
)

func runScheduler(ctx context.Context, e Environment) error {
	logger := e.logger()
	pki := e.Config.PKI
	if _, err := e.identity(pki.CertificateFile(config.SchedulerCertificate), pki.KeyFile(config.SchedulerCertificate), ssntp.RoleScheduler); err != nil {
		return err
	}
	roots, err := certs.LoadPool(pki.CAFile())
	if err != nil {
		return err
	}
	revoked, err := e.revocations(logger)
	if err != nil {
		return err
	}
	service, err := scheduler.New(scheduler.Config{
		Server: ssntp.ServerConfig{
			Certificate: certs.Source(pki.CertificateFile(config.SchedulerCertificate), pki.KeyFile(config.SchedulerCertificate), logger),
			Roots:       roots, Admit: revoked.Admit, Limits: e.limits(), Logger: logger,
		},
		Overcommit: e.overcommit(), Policy: policy(e.Config.Scheduler.Placement), TimeScale: e.Config.TimeScale, Logger: logger,
		Revocations: revoked,
	})
	if err != nil {
		return err
	}
	listener, err := listen(ctx, e.Config.Scheduler.Listen, "scheduler.listen")
	if err != nil {
		return err
	}
	defer listener.Close()
	return together(ctx,
		func(ctx context.Context) error { return service.Run(ctx, listener) },
		serveTap(e.Config.Scheduler, service.SetTap, logger))
}

// policy is the one of the cluster file's name, which is valid.
func policy(name string) placement.Policy {
	if name == config.Spread {
		return placement.Spread{}
	}
	return placement.FirstFit{}
}

// overcommit is the same for the scheduler, which chooses, and the launchers, which admit.
func (e Environment) overcommit() cluster.Overcommit {
	return cluster.Overcommit{CPU: e.Config.Scheduler.CPURatio, Memory: e.Config.Scheduler.MemoryRatio}
}
