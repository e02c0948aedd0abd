package local

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/storage"
	"github.com/ciaocloud/ciao/require"
)

// childDirectory turns the test binary into a process that makes and deletes volumes until it is killed; childSource and childContent say of
// what.
const (
	childDirectory = "CIAO_TEST_VOLUMES_DIRECTORY"
	childSource    = "CIAO_TEST_VOLUMES_SOURCE"
	childContent   = "CIAO_TEST_VOLUMES_CONTENT"
)

func TestMain(m *testing.M) {
	if directory := os.Getenv(childDirectory); directory != "" {
		fmt.Fprintln(os.Stderr, child(directory))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func child(directory string) error {
	d, err := Open(directory)
	for err == nil {
		id := uuid.NewString()
		made := storage.Volume{ID: id, Content: cluster.VolumeContent(os.Getenv(childContent)), SizeMiB: 16}
		if err = d.Create(context.Background(), made, storage.Origin{Volume: os.Getenv(childSource)}); err == nil && rand.IntN(2) == 0 {
			err = d.Delete(context.Background(), id)
		}
	}
	return err
}

const manyFiles = 200

// TestKilledAtAnyMoment: however far a copy or a delete had come when the process was killed, a volume is there whole or not at all, nothing
// else is left, and what it was copied from is as it was.
func TestKilledAtAnyMoment(t *testing.T) {
	require.Root(t)
	require.Command(t, "qemu-img")
	require.Command(t, "qemu-io")
	for _, content := range []cluster.VolumeContent{cluster.ContentDisk, cluster.ContentFiles} {
		t.Run(string(content), func(t *testing.T) {
			directory, source := t.TempDir(), uuid.NewString()
			fillSource(t, directory, source, content)
			whole, killed := 0, 0
			for range 25 {
				command := exec.CommandContext(t.Context(), os.Args[0])
				command.Env = append(os.Environ(), childDirectory+"="+directory, childSource+"="+source, childContent+"="+string(content))
				if err := command.Start(); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Duration(rand.IntN(400)) * time.Millisecond) // the moment of death: any will do
				if err := command.Process.Kill(); err != nil {
					t.Fatal(err)
				}
				if command.Wait(); command.ProcessState.Exited() {
					t.Fatal("it ended by itself")
				}
				killed++
				whole += examine(t, directory, source)
			}
			t.Logf("killed %d times; %d copies were there, all of them whole", killed, whole)
		})
	}
}

func fillSource(t *testing.T, directory, id string, content cluster.VolumeContent) {
	t.Helper()
	d, err := Open(directory)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Create(t.Context(), storage.Volume{ID: id, Content: content, SizeMiB: 16}, storage.Origin{}); err != nil {
		t.Fatal(err)
	}
	place, err := d.Find(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	write(t, place, note)
	for i := range manyFiles {
		if content == cluster.ContentFiles {
			if err := os.WriteFile(filepath.Join(place.Directory, strconv.Itoa(i)), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// examine opens the directory as the next process does, looks at all volumes, and removes the copies, which it counts.
func examine(t *testing.T, directory, source string) (copies int) {
	t.Helper()
	d, err := Open(directory)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	ids, err := d.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		place, err := d.Find(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if got := read(t, place); got != note {
			t.Errorf("volume %s says %q, want %q", id, got, note)
		}
		if place.Directory != "" {
			if entries, err := os.ReadDir(place.Directory); err != nil || len(entries) != manyFiles+1 {
				t.Errorf("volume %s has %d files, %v, want %d", id, len(entries), err, manyFiles+1)
			}
		}
		if id == source {
			continue
		}
		copies++
		if err := d.Delete(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
	if entries, err := os.ReadDir(directory); err != nil || len(entries) != 1 {
		t.Errorf("left beside the volume that was copied: %v, %v", entries, err)
	}
	return copies
}
