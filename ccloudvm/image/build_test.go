package image_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/ccloudvm/image"
	"github.com/ciaocloud/ciao/require"
)

// TestBuild makes the base image the way a machine without a download site does, or finds it in the shared store from a former run.
func TestBuild(t *testing.T) {
	require.QEMU(t)
	require.Command(t, "mmdebstrap")
	s, err := image.Open("")
	if err != nil {
		t.Fatal(err)
	}
	lists, _ := filepath.Glob("/var/lib/apt/lists/*_Packages*")
	started := time.Now()
	img, err := s.Build(t.Context(), image.Recipe{Suite: "bookworm"}, func(p image.Progress) { t.Logf("%6.1fs %s", p.Elapsed.Seconds(), p.Text) })
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s after %v", img.Digest, time.Since(started).Round(time.Millisecond))
	for _, path := range []string{img.Disk, img.Kernel, img.Initrd} {
		if info, err := os.Stat(path); err != nil || info.Size() < 1<<20 {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	if _, err := image.Inspect(t.Context(), img.Disk); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob("/var/lib/apt/lists/*_Packages*"); len(lists) > 0 && len(left) == 0 {
		t.Error("the build emptied this machine's own package lists")
	}
}

// TestTiny makes the tiny image as root or as an ordinary user.
func TestTiny(t *testing.T) {
	require.QEMU(t)
	require.Command(t, "mmdebstrap")
	s, err := image.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	img, err := s.Tiny(t.Context(), func(p image.Progress) { t.Logf("%6.1fs %s", p.Elapsed.Seconds(), p.Text) })
	if err != nil {
		t.Fatal(err)
	}
	info, err := image.Inspect(t.Context(), img.Disk)
	if err != nil {
		t.Fatal(err)
	}
	if info.ActualBytes > 40_000_000 || img.Kernel != "" || img.Append != "" {
		t.Errorf("%+v takes %d bytes, want at most 40 MB and a boot loader", img, info.ActualBytes)
	}
	again, err := s.Tiny(t.Context(), nil)
	if err != nil || again.Disk != img.Disk || again.Digest != img.Digest {
		t.Errorf("the second time: %+v, %v; want %+v", again, err, img)
	}
}
