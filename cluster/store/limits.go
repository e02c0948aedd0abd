package store

import (
	"fmt"
	"unicode/utf8"

	"github.com/ciaocloud/ciao/cluster"
)

// Limits, the same for every backend, so that what works in a test works on etcd. The first two are etcd's defaults
// (max-txn-ops, max-request-bytes).
const (
	// MaxOperations of a transaction: the rows it wrote, or the rows it read with Get, Has, Revision or wrote, whichever is
	// more, as etcd counts puts and comparisons.
	MaxOperations = 128
	// MaxTransactionBytes of a transaction: keys and rows, and operationBytes for each operation.
	MaxTransactionBytes = 3 << 19
	// MaxKeyBytes of a row's key.
	MaxKeyBytes = 512
	// MaxRowBytes of a row as JSON.
	MaxRowBytes = 1 << 20

	// operationBytes is more than etcd's encoding adds to the key and value of an operation, and requestBytes more than
	// it adds to a request.
	operationBytes = 64
	requestBytes   = 4096
	// maxPrefixBytes is what a backend may put before the path of a row.
	maxPrefixBytes = 128
)

func checkRow(d *tableDef, key string, b []byte) error {
	switch {
	case key == "":
		return fmt.Errorf("%s: a row needs a key: %w", d.name, cluster.ErrInvalid)
	case len(key) > MaxKeyBytes:
		return fmt.Errorf("%s: key %.40q… has %d bytes, at most %d are allowed: %w", d.name, key, len(key), MaxKeyBytes, ErrTooLarge)
	case !utf8.ValidString(key):
		return fmt.Errorf("%s: key %q is not valid UTF-8: %w", d.name, key, cluster.ErrInvalid)
	case len(b) > MaxRowBytes:
		return fmt.Errorf("%s %q: row has %d bytes, at most %d are allowed: %w", d.name, key, len(b), MaxRowBytes, ErrTooLarge)
	}
	return nil
}

// checkCommit holds a commit to the limits of a transaction.
func checkCommit(c Commit) error {
	if n := max(len(c.Compares), len(c.Writes)); n > MaxOperations {
		return fmt.Errorf("transaction has %d operations, at most %d are allowed: split it: %w", n, MaxOperations, ErrTooLarge)
	}
	size := requestBytes
	for _, k := range c.Compares {
		size += maxPrefixBytes + len(k.Path) + operationBytes
	}
	for _, w := range c.Writes {
		size += maxPrefixBytes + len(w.Path) + len(w.Value) + operationBytes
	}
	if size > MaxTransactionBytes {
		return fmt.Errorf("transaction has %d bytes, at most %d are allowed: split it: %w", size, MaxTransactionBytes, ErrTooLarge)
	}
	return nil
}
