// Package etcdembed runs an etcd server of one member inside the process, for a store that needs no set-up: one data directory and
// nothing else. It and the tests' etcdtest are the only importers of etcd's server.
//
// The server listens nowhere: requests are function calls, and a cluster of one member has no peers. Its address in the
// cluster is only a label, so the data directory may be moved.
//
// It looks after itself. History is compacted once there is enough of it; the database file is defragmented when most of it is
// free; when the quota was reached and there is space again the alarm is disarmed. While the disk has less free space than etcd
// needs to write safely, writes are refused with store.ErrUnavailable, and accepted again when space returns. Every
// acknowledged write is on disk: the process may be killed at any time.
package etcdembed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/etcd/server/v3/storage/wal"

	"github.com/ciaocloud/ciao/cluster/store"
	"github.com/ciaocloud/ciao/cluster/store/etcdstore"
)

// Config of a server.
type Config struct {
	// Dir is the data directory; it is made with mode 0700 and belongs to this server alone.
	Dir string
	// QuotaBytes is how large the database may grow; zero means 2 GiB.
	QuotaBytes int64
	// ReserveBytes of free disk space are left alone: with less, writes are refused. Zero means 64 MiB.
	ReserveBytes uint64
	// Log gets etcd's warnings and errors.
	Log *slog.Logger

	listen *url.URL // for clients, in tests only
	batch  int      // writes after which they are moved to the database; zero is etcd's own limit
}

const (
	startTimeout = 60 * time.Second
	closeTimeout = 10 * time.Second

	// segmentBytes of a file of the write-ahead log, of which etcd allocates two in advance.
	segmentBytes = 16 << 20
	// prefix of the keys.
	prefix = "ciao"
)

var errClosed = errors.New("etcd server was closed")

// smallSegments sets a size that etcd takes from a package variable, once, before any server runs.
var smallSegments = sync.OnceFunc(func() { wal.SegmentSizeBytes = segmentBytes })

// Server is a running etcd.
type Server struct {
	config Config
	lock   *dirLock
	etcd   *embed.Etcd
	client *clientv3.Client

	ctx  context.Context // ends when the server is closed or has failed, with the cause
	stop context.CancelCauseFunc
	work sync.WaitGroup
	kick chan struct{} // asks for maintenance now
	once sync.Once

	broken atomic.Pointer[error] // the first failure, also of a server that is being closed
}

// Open starts a server and opens the store on it; closing the store closes the server.
func Open(ctx context.Context, c Config, schema store.Schema) (*store.DB, error) {
	b, err := OpenBackend(ctx, c)
	if err != nil {
		return nil, err
	}
	return store.Open(ctx, b, schema, c.Log)
}

// OpenBackend starts a server and gives raw access to its rows; closing the backend closes the server.
func OpenBackend(ctx context.Context, c Config) (store.Backend, error) {
	s, err := Start(ctx, c)
	if err != nil {
		return nil, err
	}
	return &owner{s.Backend()}, nil
}

// owner is a backend that closes the server.
type owner struct{ *Backend }

func (o *owner) Close() error { return errors.Join(o.Backend.Close(), o.server.Close()) }

// Start starts a server and waits until it can be used. The server must be closed.
func Start(ctx context.Context, c Config) (*Server, error) {
	c, lock, err := c.own()
	if err != nil {
		return nil, err
	}
	s := &Server{config: c, lock: lock, kick: make(chan struct{}, 1)}
	s.ctx, s.stop = context.WithCancelCause(context.WithoutCancel(ctx))
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start etcd in %s: %w", c.Dir, err), s.Close())
	}
	s.work.Go(s.maintain)
	return s, nil
}

// own completes the configuration and makes the data directory this process's.
func (c Config) own() (Config, *dirLock, error) {
	if c.QuotaBytes == 0 {
		c.QuotaBytes = 2 << 30
	}
	if c.ReserveBytes == 0 {
		c.ReserveBytes = 64 << 20
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return c, nil, fmt.Errorf("data directory: %w", err)
	}
	if err := checkSpace(c.Dir, c.ReserveBytes); err != nil {
		return c, nil, err
	}
	lock, err := lockDir(c.Dir)
	return c, lock, err
}

func (s *Server) start(ctx context.Context) error {
	smallSegments()
	if err := s.config.begin(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	started := make(chan error, 1)
	// In a goroutine of its own: what etcd would end the process for ends only the goroutine that it happens in.
	s.work.Go(func() {
		defer func() {
			if p := recover(); p != nil {
				started <- fmt.Errorf("its files are damaged, restore them from a copy: %v", p)
			}
		}()
		var err error
		s.etcd, err = embed.StartEtcd(s.etcdConfig())
		started <- err
	})
	select {
	case err := <-started:
		if err != nil {
			return err
		}
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	case <-ctx.Done():
		return fmt.Errorf("it did not start in time: %w", context.Cause(ctx))
	}
	select {
	case <-s.etcd.Server.ReadyNotify():
	case err := <-s.etcd.Err():
		return err
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	case <-ctx.Done():
		return fmt.Errorf("it was not ready in time: %w", context.Cause(ctx))
	}
	s.client = v3client.New(s.etcd.Server)
	return s.config.finish()
}

// etcdConfig is for a small server of one member that is started often.
func (s *Server) etcdConfig() *embed.Config {
	c := embed.NewConfig()
	label := url.URL{Scheme: "unix", Host: "ciao"}
	c.Name = "ciao"
	c.Dir = s.config.files()
	c.InitialCluster = c.Name + "=" + label.String()
	c.InitialClusterToken = "ciao"
	c.AdvertisePeerUrls = []url.URL{label}
	c.ListenPeerUrls, c.ListenClientUrls, c.ListenClientHttpUrls, c.AdvertiseClientUrls = nil, nil, nil, nil
	if s.config.listen != nil {
		c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{*s.config.listen}, []url.URL{*s.config.listen}
	}
	c.EnableGRPCGateway = false
	c.AuthToken = "" // there are no users

	// A lone member elects itself after one to five ticks; after that they are all that an idle server does. So are its looks for
	// what to move from the log, which has every write, to the database: seldom is often enough.
	c.TickMs, c.ElectionMs = 100, 500
	c.BackendBatchInterval = time.Second
	c.BackendBatchLimit = s.config.batch
	c.InitialElectionTickAdvance = true
	c.PreVote = false

	c.QuotaBackendBytes = s.config.QuotaBytes
	c.MaxRequestBytes = store.MaxTransactionBytes
	c.MaxTxnOps = store.MaxOperations
	c.AutoCompactionRetention = "0" // see maintain
	// Applied transactions are kept in memory for followers, which there are none of.
	c.SnapshotCount, c.SnapshotCatchUpEntries = 5000, 100
	c.MaxWalFiles, c.MaxSnapFiles = 2, 2
	c.BackendFreelistType = "map"

	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(s.logger())
	return c
}

// Client of the server, for tools and tests; it is closed with the server.
func (s *Server) Client() *clientv3.Client { return s.client }

// Backend gives stores access; several may use one server.
func (s *Server) Backend() *Backend {
	return &Backend{Backend: etcdstore.New(s.client, prefix), server: s}
}

// Done is closed when the server was closed or has failed.
func (s *Server) Done() <-chan struct{} { return s.ctx.Done() }

// Err says why the server is done; nil while it is not.
func (s *Server) Err() error {
	if s.ctx.Err() == nil {
		return nil
	}
	return context.Cause(s.ctx)
}

// fail ends the server's use after something that etcd would end the process for. Its goroutines may then hold locks for ever,
// so that only the end of the process frees everything; all acknowledged writes are on disk.
func (s *Server) fail(err error) {
	err = fmt.Errorf("etcd has failed: %w", err)
	s.broken.CompareAndSwap(nil, &err)
	s.stop(err)
}

// Close stops the server and waits for it. etcd's last writes may fail only then, which is an error here.
func (s *Server) Close() error {
	var err error
	s.once.Do(func() {
		s.stop(errClosed)
		failed := !errors.Is(s.Err(), errClosed)
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.shut()
		}()
		limit := closeTimeout
		if failed {
			limit = time.Second
		}
		select {
		case <-done:
			err = s.lock.Close()
			if broken := s.broken.Load(); broken != nil && !failed {
				err = errors.Join(*broken, err)
			}
		case <-time.After(limit):
			// The data directory stays locked until the process ends, since etcd may still write to it.
			if !failed {
				err = fmt.Errorf("etcd in %s did not stop within %v", s.config.Dir, limit)
			}
		}
	})
	return err
}

func (s *Server) shut() {
	s.work.Wait()
	if s.client != nil {
		s.client.Close()
	}
	if s.etcd != nil {
		s.etcd.Close()
	}
}
