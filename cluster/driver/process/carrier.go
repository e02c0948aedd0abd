package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/driver/shim"
)

// carrier is one process as its files tell it:
//
//	carrier.json  what was created; there if and only if it was
//	root          its root directory
//	config.json   what the runtime is told, written at every start (OCI runtime specification, config.md)
//	state         the runtime's own notes
//	up            written by the runtime when the process runs
//	runtime.log   the runtime's words
//
// and what its shim keeps there.
type carrier struct{ id, directory string }

// description is what lasts of the instance that was created, with what Create found out.
type description struct {
	driver.Instance
	UID    uint32   `json:"uid"`
	GID    uint32   `json:"gid"`
	Groups []uint32 `json:"groups,omitempty"`
	Home   string   `json:"home"`
}

func (d *Driver) carrier(id string) carrier {
	return carrier{id: id, directory: filepath.Join(d.config.Instances, id, "process")}
}

// mark is the name of an instance's control group, and of its network namespace.
func (d *Driver) mark(id string) string { return d.config.Mark + "-process-" + id }

func (c carrier) file(name string) string { return filepath.Join(c.directory, name) }

func (c carrier) shim() shim.Shim {
	return shim.Shim{Directory: c.directory, Owner: "instance " + c.id}
}

// describe reads what was created; fs.ErrNotExist is nothing.
func (c carrier) describe() (description, error) {
	var d description
	data, err := os.ReadFile(c.file("carrier.json"))
	if err != nil {
		return d, err
	}
	if err := json.Unmarshal(data, &d); err != nil {
		return d, fmt.Errorf("read %s: %w", c.file("carrier.json"), err)
	}
	return d, nil
}

// write writes a file of JSON whole or not at all, readable by its owner only.
func (c carrier) write(name string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encode %s of instance %s: %w", name, c.id, err)
	}
	temporary := c.file(name + ".new")
	if err := os.WriteFile(temporary, data, 0o600); err != nil {
		return fmt.Errorf("keep instance %s: %w", c.id, err)
	}
	if err := os.Rename(temporary, c.file(name)); err != nil {
		return fmt.Errorf("keep instance %s: %w", c.id, err)
	}
	return nil
}

func (c carrier) has(name string) bool {
	_, err := os.Stat(c.file(name))
	return err == nil
}

// classed gives an error without a class the one that says whether trying again, or another node, may help: what this driver touches is
// the node's own.
func classed(err error) error {
	if err == nil {
		return nil
	}
	for _, class := range []error{
		cluster.ErrInvalid, cluster.ErrNotFound, cluster.ErrConflict, cluster.ErrPermission, cluster.ErrNoCapacity, cluster.ErrUnavailable,
	} {
		if errors.Is(err, class) {
			return err
		}
	}
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("%w: the node's disk is full: %w", cluster.ErrNoCapacity, err)
	}
	return fmt.Errorf("%w: %w", cluster.ErrUnavailable, err)
}

// missing says whether an error means that there is no such file.
func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) }
