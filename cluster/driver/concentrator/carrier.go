package concentrator

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/driver/shim"
)

// carrier is one concentrator as its files tell it:
//
//	carrier.json  generation and tenant; there if and only if it was created
//	key.pem       private key      certificate.pem  chain
//	edition       which edition of the agent was started
//
// and what its shim keeps there.
type carrier struct{ id, directory, edition string }

type description struct {
	Generation uint64 `json:"generation"`
	Tenant     string `json:"tenant"`
	Namespace  string `json:"namespace"`

	Arguments []string `json:"arguments,omitempty"`
}

func (c carrier) file(name string) string { return filepath.Join(c.directory, name) }

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

func (c carrier) write(d description) error {
	data, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("encode the description of CNCI %s: %w", c.id, err)
	}
	return c.replace("carrier.json", data)
}

// replace writes a file whole or not at all, readable by its owner only.
func (c carrier) replace(name string, data []byte) error {
	temporary := c.file(name + ".new")
	if err := os.WriteFile(temporary, data, 0o600); err != nil {
		return cluster.DiskFull(c.directory, fmt.Errorf("keep CNCI %s: %w", c.id, err))
	}
	if err := os.Rename(temporary, c.file(name)); err != nil {
		return fmt.Errorf("keep CNCI %s: %w", c.id, err)
	}
	return nil
}

func (c carrier) shim() shim.Shim { return shim.Shim{Directory: c.directory, Owner: "CNCI " + c.id} }

// status is the driver's word on it.
func (c carrier) status() (driver.Status, error) {
	status := driver.Status{ID: c.id, Condition: driver.Absent}
	described, err := c.describe()
	if errors.Is(err, fs.ErrNotExist) {
		return status, nil
	}
	if err != nil {
		return status, err
	}
	status.Generation, status.Condition = described.Generation, driver.Created
	state, err := c.shim().State()
	if err != nil || state.Begun.IsZero() && !state.Running {
		return status, err
	}
	status.Started = state.Begun
	switch {
	case state.Running && c.outdated():
		status.Condition, status.Interrupted = driver.Ended, !state.Asked
		status.Finished, status.Reason = status.Started, "the agent's program is new"
	case state.Running:
		status.Condition = driver.Running
	default:
		status.Condition = driver.Ended
		c.ending(&status, state)
	}
	return status, nil
}

// outdated says whether the agent that was started last is of another edition than the driver's.
func (c carrier) outdated() bool {
	if c.edition == "" {
		return false
	}
	started, err := os.ReadFile(c.file("edition"))
	return err != nil || string(started) != c.edition
}

// ending says how the agent ended. Without a code its script was killed too, or the machine went down.
func (c carrier) ending(status *driver.Status, state shim.State) {
	status.Interrupted = !state.Asked
	status.Finished = state.Begun
	if state.Code == nil {
		status.Reason = "the agent was killed"
		return
	}
	status.Finished, status.ExitCode = state.Ended, state.Code
	status.Reason = fmt.Sprintf("the agent ended with code %d", *state.Code)
	if last := c.shim().LastLine(); status.Interrupted && last != "" {
		status.Reason += ": " + last
	}
}

// classed gives an error without a class the one that makes the launcher try again: what this driver touches is the node's own.
func classed(err error) error {
	if err == nil {
		return nil
	}
	for _, class := range []error{cluster.ErrInvalid, cluster.ErrNotFound, cluster.ErrConflict, cluster.ErrPermission, cluster.ErrUnavailable} {
		if errors.Is(err, class) {
			return err
		}
	}
	return fmt.Errorf("%w: %w", cluster.ErrUnavailable, err)
}
