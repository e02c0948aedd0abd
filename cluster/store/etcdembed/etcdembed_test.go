package etcdembed_test

import (
	"context"
	"log/slog"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ciaocloud/ciao/cluster/store"
	"github.com/ciaocloud/ciao/cluster/store/etcdembed"
	"github.com/ciaocloud/ciao/cluster/store/storetest"
)

func start(t testing.TB, c etcdembed.Config) *etcdembed.Server {
	t.Helper()
	if c.Dir == "" {
		c.Dir = t.TempDir()
	}
	c.Log = testLog(t)
	s, err := etcdembed.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func testLog(t testing.TB) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

// shared is stores on one embedded server.
type shared struct{ *etcdembed.Server }

func (s shared) Open(ctx context.Context, schema store.Schema, log *slog.Logger) (*store.DB, error) {
	return store.Open(ctx, s.Server.Backend(), schema, log)
}

func (s shared) Backend() store.Backend { return s.Server.Backend() }

func (s shared) Compact(ctx context.Context) error {
	now, err := s.Client().Get(ctx, "x")
	if err != nil {
		return err
	}
	_, err = s.Client().Compact(ctx, now.Header.Revision)
	return err
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Shared {
		return shared{start(t, etcdembed.Config{Dir: quickDirectory(t)})}
	})
}

// quickDirectory is in memory where there is room: most tests are not about the disk, and what a killed process has written stays there,
// too.
func quickDirectory(t *testing.T) string {
	const memory, room = "/dev/shm", 512 << 20 // containers often have 64 MiB
	var space unix.Statfs_t
	if err := unix.Statfs(memory, &space); err != nil || space.Bavail*uint64(space.Bsize) < room {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(memory, "etcdembed")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
