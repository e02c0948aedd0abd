package storage

import (
	"fmt"
	"path/filepath"

	"github.com/ciaocloud/ciao/cluster"
)

// Place is how whoever carries an instance reaches a volume from the node. Exactly one field is set. It can be kept as JSON, for root alone:
// it may hold a key.
type Place struct {
	Directory string `json:"directory,omitempty"` // with the files of a volume of files
	File      File   `json:"file,omitzero"`       // a disk
	RBD       RBD    `json:"rbd,omitzero"`        // a disk
}

// File is a disk in a file of the node.
type File struct {
	Path   string              `json:"path"`
	Format cluster.ImageFormat `json:"format"` // qcow2 or raw; a qcow2 file has no other one below it
}

// RBD is a disk in a Ceph cluster, which QEMU reaches by itself.
type RBD struct {
	Configuration string `json:"configuration"` // path of the Ceph cluster's configuration, which everybody may read: QEMU is not root
	Pool          string `json:"pool"`
	Namespace     string `json:"namespace,omitempty"`
	Image         string `json:"image"`
	User          string `json:"user"` // without the "client." before it
	Key           Key    `json:"key"`  // of the user
}

// Content is what the volume is for those who use it; empty when the place says nothing.
func (p Place) Content() cluster.VolumeContent {
	switch {
	case p.Directory != "":
		return cluster.ContentFiles
	case p.File != File{}, p.RBD != RBD{}:
		return cluster.ContentDisk
	}
	return ""
}

// Check says what is wrong with a place; the error is of class cluster.ErrInvalid. Whoever takes a place from a storage driver checks it.
func (p Place) Check() error {
	var problems cluster.Problems
	set := 0
	for _, is := range []bool{p.Directory != "", p.File != File{}, p.RBD != RBD{}} {
		if is {
			set++
		}
	}
	if set != 1 {
		problems.Add("place", "must be one of a directory, a file and an RBD image; %d are set", set)
	}
	if p.Directory != "" && !filepath.IsAbs(p.Directory) {
		problems.Add("directory", "%q is not an absolute path", p.Directory)
	}
	if p.File != (File{}) {
		p.File.check(&problems)
	}
	if p.RBD != (RBD{}) {
		p.RBD.check(&problems)
	}
	if err := problems.Err(); err != nil {
		return fmt.Errorf("place of a volume: %w", err)
	}
	return nil
}

func (f File) check(problems *cluster.Problems) {
	if !filepath.IsAbs(f.Path) {
		problems.Add("file.path", "%q is not an absolute path", f.Path)
	}
	if f.Format != cluster.FormatQcow2 && f.Format != cluster.FormatRaw {
		problems.Add("file.format", "is %q; a disk is qcow2 or raw", f.Format)
	}
}

func (r RBD) check(problems *cluster.Problems) {
	if !filepath.IsAbs(r.Configuration) {
		problems.Add("rbd.configuration", "%q is not an absolute path", r.Configuration)
	}
	for field, value := range map[string]string{"pool": r.Pool, "image": r.Image, "user": r.User, "key": string(r.Key)} {
		if value == "" {
			problems.Add("rbd."+field, "is missing")
		}
	}
}
