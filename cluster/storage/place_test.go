package storage_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/storage"
)

var rbd = storage.RBD{Configuration: "/etc/ceph/ceph.conf", Pool: "volumes", Image: "one", User: "ciao", Key: "c2VjcmV0"}

func TestPlaces(t *testing.T) {
	file := storage.File{Path: "/v/disk", Format: cluster.FormatRaw}
	noKey := rbd
	noKey.Key = ""
	for name, test := range map[string]struct {
		place   storage.Place
		content cluster.VolumeContent
		valid   bool
	}{
		"directory":       {storage.Place{Directory: "/v/files"}, cluster.ContentFiles, true},
		"file":            {storage.Place{File: file}, cluster.ContentDisk, true},
		"rbd":             {storage.Place{RBD: rbd}, cluster.ContentDisk, true},
		"nothing":         {storage.Place{}, "", false},
		"two":             {storage.Place{File: file, RBD: rbd}, cluster.ContentDisk, false},
		"relative":        {storage.Place{Directory: "files"}, cluster.ContentFiles, false},
		"disk of tar":     {storage.Place{File: storage.File{Path: "/v/disk", Format: cluster.FormatTar}}, cluster.ContentDisk, false},
		"rbd without key": {storage.Place{RBD: noKey}, cluster.ContentDisk, false},
	} {
		err := test.place.Check()
		if test.place.Content() != test.content || (err == nil) != test.valid || err != nil && !errors.Is(err, cluster.ErrInvalid) {
			t.Errorf("%s: %q, %v", name, test.place.Content(), err)
		}
	}
}

func TestKeysAreNotShown(t *testing.T) {
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(verb, storage.Place{RBD: rbd}); strings.Contains(text, string(rbd.Key)) {
			t.Errorf("%s shows the key: %s", verb, text)
		}
	}
}
