// Package backup is the file form of a whole store: written from a snapshot, checked, and read back to restore it.
//
// # The form
//
// A backup is lines of JSON. The first says what it is: the version of the form, the cluster, the schema of the rows, the revision
// and the time. One line for each row follows, in order of their paths. The last line has the number of rows and the SHA-256 of all bytes
// before it, so that a file that was cut short or damaged is told from a whole one. Rows are in it as they are stored: whoever
// can read a backup can read everything that the cluster knows, so it is made readable by its owner only. The checksum finds accidents, not
// forgers.
//
// Reading and writing keep one row in memory, however large the store is. What is not a whole backup of a known form
// is refused with cluster.ErrInvalid and one sentence.
package backup

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"time"

	"github.com/ciaocloud/ciao/cluster/store"
)

// Format is the version of the form that this program writes; it reads all up to it.
const Format = 1

// Header is the first line.
type Header struct {
	Format     int            `json:"ciao_store_backup"`
	Cluster    string         `json:"cluster"`
	Schema     int            `json:"schema"` // number of the last migration of the rows
	SchemaName string         `json:"schema_name,omitempty"`
	Revision   store.Revision `json:"revision"` // of the store when it was read
	Time       time.Time      `json:"time"`
}

// Summary says what a backup holds.
type Summary struct {
	Header
	Rows int `json:"rows"`
}

// line is a row or, with a sum, the end.
type line struct {
	Path  string          `json:"path,omitempty"`
	Value json.RawMessage `json:"value,omitempty"`
	Rows  int             `json:"rows,omitempty"`
	Sum   string          `json:"sha256,omitempty"`
}

const (
	maxHeaderBytes = 4096
	// maxLineBytes of a row: each byte of a key may take six in JSON.
	maxLineBytes = store.MaxRowBytes + 6*(store.MaxKeyBytes+64) + 64
)

func end(rows int, sum hash.Hash) string {
	return fmt.Sprintf("{\"rows\":%d,\"sha256\":\"%s\"}\n", rows, hex.EncodeToString(sum.Sum(nil)))
}

func newSum() hash.Hash { return sha256.New() }
