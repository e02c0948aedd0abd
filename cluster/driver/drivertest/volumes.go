package drivertest

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/storage"
)

// files makes a volume of files, which begins empty, as a storage driver makes it.
func (s *suite) files(target string) driver.Volume {
	s.Helper()
	directory, err := os.MkdirTemp("", "ciao-volume-")
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { os.RemoveAll(directory) })
	if err := os.Chmod(directory, 0o755); err != nil {
		s.Fatal(err)
	}
	return driver.Volume{ID: uuid.NewString(), Name: filepath.Base(target), Place: storage.Place{Directory: directory}, Target: target}
}

// storesFiles says whether the driver's instances can have volumes of files, and write to them by a shell.
func (s *suite) storesFiles() bool {
	storer, able := s.Driver.(driver.Storer)
	return s.Shell && able && storer.Stores(cluster.ContentFiles)
}

func (s *suite) wantNote(v driver.Volume, want string) {
	s.Helper()
	got, err := os.ReadFile(filepath.Join(v.Place.Directory, "note"))
	if err != nil || string(got) != want {
		s.Errorf("volume %s has %q, %v, want %q", v.Name, got, err, want)
	}
}

// volumes: an instance writes to a volume, whoever it runs as, and to none that it may only read; one of a newer generation has what that
// is given, at the target that it is given; what was written outlives the instance.
func volumes(s *suite) {
	if !s.storesFiles() {
		return
	}
	written, protected := s.files("/volumes/written"), s.files("/volumes/protected")
	if err := os.WriteFile(filepath.Join(protected.Place.Directory, "note"), []byte("ours\n"), 0o666); err != nil {
		s.Fatal(err)
	}
	protected.ReadOnly = true
	instance := shell(s.instance(), "echo mine >>/volumes/written/note; cat /volumes/protected/note; echo theirs >/volumes/protected/note; ls /elsewhere")
	instance.Volumes = []driver.Volume{written, protected}
	s.create(instance)
	s.start(instance)
	s.becomes(instance, driver.Ended)
	if said := s.printed(instance); !strings.Contains(said, "ours\n") {
		s.Errorf("it said %q, not what its volume has", said)
	}
	s.wantNote(written, "mine\n")
	s.wantNote(protected, "ours\n")

	written.Target = "/elsewhere"
	instance.Generation, instance.Volumes = 2, []driver.Volume{written}
	s.create(instance)
	s.start(instance)
	s.becomes(instance, driver.Ended)
	if said := s.printed(instance); !strings.Contains(said, "note\n") {
		s.Errorf("it said %q, without what is at the new target", said)
	}
	if err := s.Driver.Delete(s.ctx, instance.ID); err != nil {
		s.Fatal(err)
	}
	s.wantNote(written, "mine\n")
	s.wantNote(protected, "ours\n")
}

// volumesAfterCrash: an instance whose carrier was killed has its volumes when it is started again, and what is in them is left alone by
// its end.
func volumesAfterCrash(s *suite) {
	if !s.storesFiles() || s.Interrupt == nil {
		return
	}
	v := s.files("/volumes/kept")
	instance := shell(s.instance(), "echo begun >>/volumes/kept/note"+forever)
	instance.Volumes = []driver.Volume{v}
	s.create(instance)
	s.start(instance)
	wrote := func(want string) func() bool {
		return func() bool {
			got, _ := os.ReadFile(filepath.Join(v.Place.Directory, "note"))
			return string(got) == want
		}
	}
	s.eventually("its first line", wrote("begun\n"))
	s.Interrupt(s.T)
	s.becomes(instance, driver.Ended)
	s.start(instance)
	s.eventually("its second line", wrote("begun\nbegun\n"))
	if err := s.Driver.Delete(s.ctx, instance.ID); err != nil {
		s.Fatal(err)
	}
	s.wantNote(v, "begun\nbegun\n")
}
