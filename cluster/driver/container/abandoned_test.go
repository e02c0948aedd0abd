package container_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// An engine that dies while it creates containers leaves their first layers mounted. Clean unmounts those, and not one that the
// engine of now may be using.
func TestCleanUnmountsWhatAKilledEngineLeft(t *testing.T) {
	engine := newPrivateEngine(t)
	left := mountLayer(t, engine, "left")
	engine.end(t, syscall.SIGKILL)
	engine.begin(t)
	used := mountLayer(t, engine, "used")

	d := newNode(t, engine.host).open(t)
	if err := d.Clean(t.Context()); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{left: false, used: true} {
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
