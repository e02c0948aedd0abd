package image

import (
	"errors"
	"path/filepath"
	"time"
)

// Image is a complete, immutable base image.
type Image struct {
	Name   string `json:"name"`   // such as "debian-12"
	Digest string `json:"digest"` // of the download or of the recipe, such as "sha512:..."
	Disk   string `json:"disk"`   // path of the disk
	Format string `json:"format"` // "qcow2" or "raw"

	// Kernel, Initrd and Append boot the image directly; they are empty for an image that has a boot loader.
	Kernel string `json:"kernel,omitempty"`
	Initrd string `json:"initrd,omitempty"`
	Append string `json:"append,omitempty"`

	Origin   Origin   `json:"origin"`
	Packages []string `json:"packages,omitempty"` // that are already in it, beyond the base's own
	Why      string   `json:"why,omitempty"`      // why it was built rather than downloaded
}

// In returns a built image whose directory is dir.
func (i Image) In(dir string) Image {
	i.Disk = filepath.Join(dir, "disk.qcow2")
	if i.Append != "" {
		i.Kernel, i.Initrd = filepath.Join(dir, "kernel"), filepath.Join(dir, "initrd")
	}
	return i
}

// Origin says where an image comes from.
type Origin string

// The origins.
const (
	Downloaded Origin = "downloaded"
	Built      Origin = "built"
)

// Progress is a report about long work. Its zero Total means that the end is not known.
type Progress struct {
	Phase       string // such as "download", "install packages", "write disk"
	Text        string // the newest line about it, optional
	Done, Total int64  // bytes for a download; else 0
	Elapsed     time.Duration
}

// Report receives progress, from one goroutine at a time. nil is allowed wherever one is wanted.
type Report func(Progress)

func (r Report) send(p Progress) {
	if r != nil {
		r(p)
	}
}

var (
	// ErrUnreachable says that a download site could not be reached.
	ErrUnreachable = errors.New("the download site cannot be reached")

	// ErrDigest says that a file is not the one that was published.
	ErrDigest = errors.New("the digest is wrong")

	// ErrUnknown says that the catalogue has no such image.
	ErrUnknown = errors.New("unknown image")

	// ErrUnsafe says that a disk image names other files and is refused.
	ErrUnsafe = errors.New("the disk image is not self-contained")

	// ErrTools says that a program needed on this machine is missing.
	ErrTools = errors.New("a program is missing")
)
