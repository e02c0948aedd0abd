package daemon

import (
	"context"
	"crypto/tls"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/ciaocloud/ciao/cluster/controller"
	"github.com/ciaocloud/ciao/cluster/store"
	"github.com/ciaocloud/ciao/cluster/store/etcdembed"
	"github.com/ciaocloud/ciao/cluster/store/etcdstore"
	"github.com/ciaocloud/ciao/ssntp/certs"
)

// storeTimeout is how long a controller waits for its store when it starts.
const storeTimeout = 30 * time.Second

// openStore opens the embedded etcd, or connects to the one that the cluster file names.
func (e Environment) openStore(ctx context.Context, logger *slog.Logger) (*store.DB, error) {
	ctx, cancel := context.WithTimeout(ctx, e.scaled(storeTimeout))
	defer cancel()
	if e.external() {
		settings, err := e.etcdCluster(logger)
		if err != nil {
			return nil, err
		}
		return etcdstore.Open(ctx, settings, controller.Schema())
	}
	return etcdembed.Open(ctx, e.etcdServer(logger), controller.Schema())
}

// external says that the state is in an etcd cluster that somebody else runs.
func (e Environment) external() bool { return len(e.Config.Controller.Store.Endpoints) > 0 }

func (e Environment) etcdServer(logger *slog.Logger) etcdembed.Config {
	return etcdembed.Config{Dir: filepath.Join(e.Config.Controller.Directory, "etcd"), Log: logger}
}

// etcdCluster is how the etcd cluster is reached. The certificate is read again for each connection, so that it can be renewed.
func (e Environment) etcdCluster(logger *slog.Logger) (etcdstore.Config, error) {
	c := e.Config.Controller.Store
	security := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CA != "" {
		roots, err := certs.LoadPool(c.CA)
		if err != nil {
			return etcdstore.Config{}, err
		}
		security.RootCAs = roots
	}
	if c.Certificate != "" {
		source := certs.Source(c.Certificate, c.Key, logger)
		if _, err := source(); err != nil { // now, rather than as a connection that never comes about
			return etcdstore.Config{}, err
		}
		security.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return source() }
	}
	return etcdstore.Config{Endpoints: c.Endpoints, TLS: security, Prefix: c.Prefix, Log: logger}, nil
}
