// Package etcdstore keeps a store's rows in etcd, through a client of its version 3 API.
//
// A row is one key, prefix/table/key, with the row's JSON as its value; a transaction is one etcd transaction that compares
// modification revisions; the log is an etcd watch. etcd's revisions are the store's. Nothing else may be kept under the prefix.
//
// Several processes may have stores on one etcd. Its history is compacted by whoever runs it (auto-compaction); a
// store that lost its place reads everything again.
package etcdstore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/ciaocloud/ciao/cluster/store"
)

// Config says which etcd.
type Config struct {
	// Endpoints as URLs, for example https://10.0.0.1:2379.
	Endpoints []string
	// TLS of the connections; nil for none.
	TLS *tls.Config
	// Prefix of all keys, at most 127 bytes, without a slash at its end; clusters that share an etcd need different ones.
	Prefix string
	// Log gets what is worth knowing about the connection.
	Log *slog.Logger
}

const (
	maxPrefix = 127
	// openTimeout bounds the opening, which reads all rows.
	openTimeout = time.Minute
)

// Open connects to etcd and opens the store there. It fails with store.ErrUnavailable when etcd does not answer before ctx ends,
// or within a minute.
func Open(ctx context.Context, c Config, schema store.Schema) (*store.DB, error) {
	b, err := Connect(ctx, c)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	return store.Open(ctx, b, schema, c.Log)
}

// Connect connects to etcd and gives raw access to the rows there. It fails as Open does.
func Connect(ctx context.Context, c Config) (*Backend, error) {
	if len(c.Prefix) == 0 || len(c.Prefix) > maxPrefix {
		return nil, fmt.Errorf("etcd prefix %q: use 1 to %d bytes", c.Prefix, maxPrefix)
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints:            c.Endpoints,
		TLS:                  c.TLS,
		Logger:               zap.NewNop(),
		DialKeepAliveTime:    5 * time.Second,
		DialKeepAliveTimeout: 5 * time.Second,
		PermitWithoutStream:  true,
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 3 * time.Second},
			MinConnectTimeout: 3 * time.Second,
		})},
	})
	if err != nil {
		return nil, fmt.Errorf("etcd client for %v: %w", c.Endpoints, err)
	}
	b := New(client, c.Prefix)
	trial, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	_, err = client.Get(trial, b.prefix, clientv3.WithCountOnly())
	if err == nil {
		return b, nil
	}
	if trial.Err() != nil {
		err = unanswered(context.WithoutCancel(ctx), c, err)
	} else {
		err = classify(err)
	}
	return nil, errors.Join(err, b.Close())
}

// unanswered says why there was no answer in time.
func unanswered(ctx context.Context, c Config, err error) error {
	if why := reason(ctx, c); why != nil {
		return fmt.Errorf("etcd cannot be reached at %s: start it, or correct endpoints and certificates: %w: %w", strings.Join(c.Endpoints, ", "), why, store.ErrUnavailable)
	}
	return fmt.Errorf("etcd at %s does not answer: see that most of its members run: %w: %w", strings.Join(c.Endpoints, ", "), err, store.ErrUnavailable)
}

// Backend is one process's access to the rows in an etcd.
type Backend struct {
	client *clientv3.Client
	prefix string // with a slash at its end
}

var _ store.Backend = (*Backend)(nil)

// New returns a backend that uses a client, and closes it in the end.
func New(client *clientv3.Client, prefix string) *Backend {
	return &Backend{client, prefix + "/"}
}

// Close closes the client.
func (b *Backend) Close() error { return b.client.Close() }

// Commit implements store.Backend.
func (b *Backend) Commit(ctx context.Context, c store.Commit) (store.Revision, error) {
	compares := make([]clientv3.Cmp, len(c.Compares))
	for i, k := range c.Compares {
		compares[i] = clientv3.Compare(clientv3.ModRevision(b.prefix+k.Path), "=", int64(k.Revision))
	}
	writes := make([]clientv3.Op, len(c.Writes))
	for i, w := range c.Writes {
		if w.Value == nil {
			writes[i] = clientv3.OpDelete(b.prefix + w.Path)
		} else {
			writes[i] = clientv3.OpPut(b.prefix+w.Path, string(w.Value))
		}
	}
	answer, err := b.client.Txn(ctx).If(compares...).Then(writes...).Commit()
	if err != nil {
		return 0, classify(err)
	}
	revision := store.Revision(answer.Header.Revision)
	if !answer.Succeeded {
		return revision, store.ErrConflict
	}
	return revision, nil
}

// Current implements store.Backend: the empty read goes through etcd's consensus, the request for progress makes the watch
// say how far it is.
func (b *Backend) Current(ctx context.Context) (store.Revision, error) {
	answer, err := b.client.Get(ctx, b.prefix, clientv3.WithCountOnly())
	if err != nil {
		return 0, classify(err)
	}
	if err := b.client.RequestProgress(clientv3.WithRequireLeader(ctx)); err != nil {
		return 0, classify(err)
	}
	return store.Revision(answer.Header.Revision), nil
}
