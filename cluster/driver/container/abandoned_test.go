package container_test

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// An engine that dies while it creates containers leaves their first layers mounted. Clean unmounts those, and not one that the
// engine of now may be using; several nodes of one machine may do so at the same time.
func TestCleanUnmountsWhatAKilledEngineLeft(t *testing.T) {
	engine := newPrivateEngine(t)
	want := make(map[string]bool)
	for n := range 20 {
		want[mountLayer(t, engine, fmt.Sprint("left", n))] = false
	}
	engine.end(t, syscall.SIGKILL)
	engine.begin(t)
	want[mountLayer(t, engine, "used")] = true

	var cleaning errgroup.Group
	for range 3 {
		d := newNode(t, engine.host).open(t)
		cleaning.Go(func() error { return d.Clean(t.Context()) })
	}
	if err := cleaning.Wait(); err != nil {
		t.Fatal(err)
	}
	for path, want := range want {
		if got, err := mountinfo.Mounted(path); got != want || err != nil {
			t.Errorf("%s is mounted: %t (%v), want %t", path, got, err, want)
		}
	}
}

// mountLayer mounts what the engine mounts while it creates a container.
func mountLayer(t *testing.T, engine *privateEngine, name string) string {
	t.Helper()
	layer := filepath.Join(engine.directory, "data", "overlay2", name+"-init")
	for _, part := range []string{"lower", "diff", "work", "merged"} {
		if err := os.MkdirAll(filepath.Join(layer, part), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	merged := filepath.Join(layer, "merged")
	options := "lowerdir=" + layer + "/lower,upperdir=" + layer + "/diff,workdir=" + layer + "/work"
	if err := unix.Mount("overlay", merged, "overlay", 0, options); err != nil {
		t.Fatalf("mount a layer: %v", err)
	}
	return merged
}
