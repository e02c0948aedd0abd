package image

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
)

// CacheVariable is the environment variable that moves the store.
const CacheVariable = "CCLOUDVM_CACHE"

// DefaultDir is where a user's images are: $CCLOUDVM_CACHE, or ccloudvm/images in the XDG cache directory.
func DefaultDir() (string, error) {
	if dir := os.Getenv(CacheVariable); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding a place for images (set %s): %w", CacheVariable, err)
	}
	return filepath.Join(dir, "ccloudvm", "images"), nil
}

// Provided is where an administrator, or whoever made the machine, has put images for everybody: built images in built, as in a store.
const Provided = "/usr/local/share/ccloudvm/images"

// Store holds images. It may be used concurrently, and several processes may use one directory.
type Store struct {
	Dir string

	// Client downloads; nil means one that takes the proxy from the environment.
	Client *http.Client

	// Stall ends a download from which nothing comes for so long; 0 means a minute.
	Stall time.Duration

	flights flights
}

// Open returns the store in dir, which is made when it is not there. "" means [DefaultDir].
func Open(dir string) (*Store, error) {
	if dir == "" {
		var err error
		if dir, err = DefaultDir(); err != nil {
			return nil, err
		}
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	for _, sub := range []string{"blobs", "built", "index", "partial", "locks"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, fmt.Errorf("making the image store: %w", err)
		}
	}
	return &Store{Dir: dir}, nil
}

func (s *Store) path(parts ...string) string {
	return filepath.Join(append([]string{s.Dir}, parts...)...)
}

// lock takes the lock of one thing, against other processes. report learns that there is a wait.
func (s *Store) lock(ctx context.Context, name string, report Report) (unlock func(), err error) {
	l := flock.New(s.path("locks", name))
	ok, err := l.TryLock()
	if err == nil && !ok {
		report.send(Progress{Phase: "wait", Text: "another process is getting the same image"})
		ok, err = l.TryLockContext(ctx, 200*time.Millisecond)
	}
	if err != nil || !ok {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("locking %s: %w", name, err)
	}
	return func() { l.Close() }, nil
}
