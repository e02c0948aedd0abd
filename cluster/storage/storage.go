// Package storage is the contract between the launcher and what keeps volumes on a node.
//
// A volume is a disk for a VM, or a directory of files for containers and processes. Who may use it, and that one instance at a time does,
// is the controller's to say; a driver keeps what is in it.
//
// Package local keeps volumes on the node, and package ceph keeps disks where every node reaches them.
//
// What a driver guarantees, and storagetest checks: every call may be repeated; a volume is there whole or not at all, whenever the process
// or the machine dies; Create of what is there leaves it as it is; Delete of what is not there succeeds; a name that is no id leads nowhere;
// errors are of a class of package cluster, and a full disk is cluster.ErrNoCapacity and leaves nothing.
package storage

import (
	"context"

	"github.com/ciaocloud/ciao/cluster"
)

// Volume is what a driver needs to know of a volume.
type Volume struct {
	ID      string
	Content cluster.VolumeContent
	SizeMiB int64 // of a disk; files are not limited
}

// Origin is what a new volume is a copy of; at most one of its fields is set, and none is an empty volume.
type Origin struct {
	Image  *Image
	Volume string // id of another volume of the same driver, which nobody uses meanwhile
}

// Image is the content of an image in a file.
type Image struct {
	Path   string
	Format cluster.ImageFormat
}

// Driver keeps volumes. All methods may be called from many goroutines, for one volume from one at a time.
type Driver interface {
	// Create makes a volume, unless it is there. It may take long; ctx ends it.
	Create(ctx context.Context, volume Volume, origin Origin) error

	// Find looks a volume up; one that is not there is cluster.ErrNotFound.
	Find(ctx context.Context, id string) (Place, error)

	// Delete removes a volume, which nobody uses.
	Delete(ctx context.Context, id string) error

	// List finds the ids of all volumes.
	List(ctx context.Context) ([]string, error)
}

// Fencer is a driver whose volumes other nodes reach, too.
type Fencer interface {
	// Fence takes a volume over: when it returns nil, whoever had the volume open, wherever, can write to it no more. It is called before an
	// instance is started that has the volume. The token grows whenever the volume is given to another instance, or its instance to another
	// node (a fencing token); cluster.ErrConflict: a larger one has been used, so that the volume is not the caller's any more.
	Fence(ctx context.Context, id string, token uint64) error
}
