package container

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Room on the engine's disk, in bytes, with which it counts as full, and from which on it does not any more: between the two it is as it was.
const (
	leastRoom  = 16 << 20
	enoughRoom = 32 << 20
)

// room is what is known of the engine's disk. The zero value is ready.
type room struct {
	mu        sync.Mutex
	directory string // of the engine; empty is not known
	full      bool
}

// Full implements driver.Housed. Of an engine on another machine nobody knows.
func (d *Driver) Full(ctx context.Context) string {
	d.room.mu.Lock()
	defer d.room.mu.Unlock()
	if d.room.directory == "" {
		d.room.directory = d.directory(ctx)
	}
	var stat unix.Statfs_t
	if d.room.directory == "" || unix.Statfs(d.room.directory, &stat) != nil {
		d.room.directory, d.room.full = "", false
		return ""
	}
	switch free := int64(stat.Bfree) * stat.Bsize; { // the engine is root, and may use what is reserved
	case free < leastRoom:
		d.room.full = true
	case free >= enoughRoom:
		d.room.full = false
	}
	if !d.room.full {
		return ""
	}
	return fmt.Sprintf("the Docker Engine's disk, of %s, is full: free some space there", d.room.directory)
}

// directory is where an engine on this machine keeps what it has; empty when it does not answer.
func (d *Driver) directory(ctx context.Context) string {
	if !strings.HasPrefix(d.engine.DaemonHost(), "unix://") || d.ready(ctx) != nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, quickCall)
	defer cancel()
	info, err := d.engine.Info(ctx)
	if err != nil {
		return ""
	}
	return info.DockerRootDir
}
