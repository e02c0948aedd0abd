package store

import (
	"errors"

	"github.com/ciaocloud/ciao/cluster"
)

// Classes of errors; test with errors.Is. Those that package cluster has too are the same values.
var (
	// ErrNotFound: no row has this key.
	ErrNotFound = cluster.ErrNotFound
	// ErrExists: a row with this key is already there.
	ErrExists = cluster.ErrExists
	// ErrConflict: others kept changing the same rows and all attempts were lost; nothing was written.
	ErrConflict = cluster.ErrConflict
	// ErrTooLarge: a row, a key or a transaction passes a limit; nothing was written.
	ErrTooLarge = cluster.ErrTooLarge
	// ErrUnavailable: the backend did not answer in time or refused. An Update that fails with it may or may not have
	// been committed: read again before repeating it.
	ErrUnavailable = cluster.ErrUnavailable
	// ErrClosed: the store was closed, or failed for good; see [DB.Err].
	ErrClosed = errors.New("store is closed")
	// ErrNewer: a newer version of the program has written this store.
	ErrNewer = errors.New("written by a newer version")
	// ErrCompacted is for backends: the wanted history is gone, see [Backend].
	ErrCompacted = errors.New("history is gone")
)
