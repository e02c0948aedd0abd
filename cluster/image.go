package cluster

import (
	"regexp"
	"time"
)

// Image is what VMs, containers and processes start from, uploaded to the cluster. It never changes once it is active.
type Image struct {
	ID         string      `json:"id"`
	Name       string      `json:"name"`             // unique among its owner's images
	Tenant     string      `json:"tenant,omitempty"` // owner; empty for public and internal images
	Visibility Visibility  `json:"visibility"`
	State      ImageState  `json:"state"`
	Format     ImageFormat `json:"format,omitempty"`     // empty: found out when all of the content is there
	Bytes      int64       `json:"bytes"`                // of the content
	DiskBytes  int64       `json:"disk_bytes,omitempty"` // of the disk that it holds, as a VM sees it
	Digest     string      `json:"digest,omitempty"`     // sha256:HEX of the content; before it is active, what is expected, if anything
	Reason     string      `json:"reason,omitempty"`     // why the last upload was refused
	Created    time.Time   `json:"created"`
}

// Internal makes an image the cluster's own: no tenant sees it.
const Internal Visibility = "internal"

// ImageState is where an image is in its life.
type ImageState string

// States of an image. An upload that was cut leaves it uploading: it is taken up again where it broke off, or the image is deleted.
const (
	ImageUploading ImageState = "uploading" // its content, or the rest of it, is awaited
	ImageActive    ImageState = "active"
)

// ImageFormat says what an image's content is.
type ImageFormat string

// Formats of images.
const (
	FormatQcow2         ImageFormat = "qcow2"          // a disk for VMs
	FormatRaw           ImageFormat = "raw"            // a disk for VMs, byte by byte
	FormatTar           ImageFormat = "tar"            // a file system for containers and processes
	FormatDockerArchive ImageFormat = "docker-archive" // what docker save writes, for containers
)

// ImageFormats lists all formats.
func ImageFormats() []ImageFormat {
	return []ImageFormat{FormatQcow2, FormatRaw, FormatTar, FormatDockerArchive}
}

// Suits says whether instances of a kind can start from the format.
func (f ImageFormat) Suits(kind Kind) bool {
	switch kind {
	case KindVM:
		return f == FormatQcow2 || f == FormatRaw
	case KindContainer:
		return f == FormatTar || f == FormatDockerArchive
	case KindProcess:
		return f == FormatTar
	}
	return false
}

// ImageContent is the content of an image as instances keep it: what a name meant when they were created.
type ImageContent struct {
	ID        string      `json:"id"` // of the image
	Name      string      `json:"name"`
	Digest    string      `json:"digest"`
	Format    ImageFormat `json:"format"`
	Bytes     int64       `json:"bytes"`
	DiskBytes int64       `json:"disk_bytes,omitempty"` // of the disk that it holds, as a VM sees it
}

// Content is what instances keep of an active image.
func (i Image) Content() ImageContent {
	return ImageContent{ID: i.ID, Name: i.Name, Digest: i.Digest, Format: i.Format, Bytes: i.Bytes, DiskBytes: i.DiskBytes}
}

var (
	imageName   = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$`)
	imageDigest = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

// ValidImageName says whether a name can be given to an image: lower-case letters, digits, hyphens and dots.
func ValidImageName(name string) bool { return imageName.MatchString(name) }

// ValidDigest says whether text is a digest as images have it: sha256: and 64 hexadecimal digits.
func ValidDigest(text string) bool { return imageDigest.MatchString(text) }
