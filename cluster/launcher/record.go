package launcher

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
)

// record is instance.json: what is wanted of an instance, and what lasts of how it went.
type record struct {
	Version    int                  `json:"version"`
	ID         string               `json:"id"`
	Generation uint64               `json:"generation"`
	Want       cluster.Desired      `json:"want"`
	Grace      cluster.Duration     `json:"grace"` // of the last stop
	Name       string               `json:"name"`
	Tenant     string               `json:"tenant"`
	Kind       cluster.Kind         `json:"kind"`
	Spec       cluster.WorkloadSpec `json:"spec"`
	Privileged bool                 `json:"privileged,omitempty"`
	Image      *payload.Image       `json:"image,omitempty"`
	Volumes    []payload.Volume     `json:"volumes,omitempty"`
	Changed    map[string]verdict   `json:"changed,omitempty"` // volumes → how their last change ended, while this generation runs
	Subnet     string               `json:"subnet,omitempty"`
	MAC        string               `json:"mac,omitempty"`
	Addresses  []netip.Addr         `json:"addresses,omitempty"`

	Heard    bool          `json:"heard,omitempty"` // its guest has asked for its address, in this generation
	Settled  cluster.State `json:"settled,omitempty"`
	ExitCode *int          `json:"exit_code,omitempty"`
	Reason   string        `json:"reason,omitempty"`
	Failure  string        `json:"failure,omitempty"`
	Retry    bool          `json:"retry,omitempty"`
}

const (
	recordVersion = 1
	recordFile    = "instance.json"
	deletedPrefix = ".deleted-"
)

// records is the instances' directory.
type records struct{ directory string }

func (r records) path(id string) string { return filepath.Join(r.directory, id) }

// save writes a record whole or not at all; durable also survives a loss of power.
func (r records) save(record record, durable bool) error {
	record.Version = recordVersion
	data, err := json.MarshalIndent(record, "", "\t")
	if err != nil {
		return fmt.Errorf("encode the record of instance %s: %w", record.ID, err)
	}
	if err := os.MkdirAll(r.path(record.ID), 0o700); err != nil {
		return cluster.DiskFull(r.directory, fmt.Errorf("make the instance's directory: %w", err))
	}
	return writeFile(filepath.Join(r.path(record.ID), recordFile), append(data, '\n'), durable)
}

// load reads all records and removes what deletes have left. Records that cannot be read are named in the error; the others are
// returned all the same.
func (r records) load() ([]record, error) {
	if err := os.MkdirAll(r.directory, 0o700); err != nil {
		return nil, fmt.Errorf("make the instances' directory: %w", err)
	}
	entries, err := os.ReadDir(r.directory)
	if err != nil {
		return nil, fmt.Errorf("read the instances' directory: %w", err)
	}
	var all []record
	var problems []error
	for _, entry := range entries {
		one, err := r.read(entry.Name())
		switch {
		case errors.Is(err, fs.ErrNotExist): // killed before it was written, or while it was removed
			problems = append(problems, os.RemoveAll(r.path(entry.Name())))
		case err != nil:
			problems = append(problems, fmt.Errorf("%s cannot be used; repair it or move the directory away: %w", r.path(entry.Name()), err))
		default:
			all = append(all, one)
		}
	}
	return all, errors.Join(problems...)
}

func (r records) read(id string) (record, error) {
	var one record
	if strings.HasPrefix(id, deletedPrefix) {
		return one, fs.ErrNotExist
	}
	data, err := os.ReadFile(filepath.Join(r.path(id), recordFile))
	if err != nil {
		return one, err
	}
	if err := json.Unmarshal(data, &one); err != nil {
		return one, err
	}
	if one.ID != id || one.Version != recordVersion {
		return one, fmt.Errorf("%w: it is of instance %q, version %d", cluster.ErrInvalid, one.ID, one.Version)
	}
	return one, nil
}

// remove forgets an instance: once the directory has its other name, it is gone, however much of it is left.
func (r records) remove(id string) error {
	deleted := r.path(deletedPrefix + id)
	if err := os.RemoveAll(deleted); err != nil {
		return fmt.Errorf("remove what an earlier delete left: %w", err)
	}
	if err := os.Rename(r.path(id), deleted); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the instance's directory: %w", err)
	}
	return os.RemoveAll(deleted)
}
