package concentrator

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
)

// carrier is one concentrator as its files tell it:
//
//	carrier.json  generation and tenant; there if and only if it was created
//	key.pem       private key      certificate.pem  chain
//	lock          locked while the agent's script lives
//	processes     the script's and the agent's process ids, written when the agent was started
//	exit          the agent's exit code, written when it ended
//	stopped       there when it was asked to end
//	edition       which edition of the agent was started
//	agent.log     output, and agent.log.1 what went before
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
		return fmt.Errorf("keep CNCI %s: %w", c.id, err)
	}
	if err := os.Rename(temporary, c.file(name)); err != nil {
		return fmt.Errorf("keep CNCI %s: %w", c.id, err)
	}
	return nil
}

func (c carrier) drop(names ...string) error {
	for _, name := range names {
		if err := os.Remove(c.file(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("tidy up CNCI %s: %w", c.id, err)
		}
	}
	return nil
}

func (c carrier) has(name string) bool {
	_, err := os.Stat(c.file(name))
	return err == nil
}

// take locks the concentrator; nil without an error means that its agent runs.
func (c carrier) take() (*os.File, error) {
	lock, err := os.OpenFile(c.file("lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock CNCI %s: %w", c.id, err)
	}
	for {
		if err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err == nil {
			return lock, nil
		}
		running := false
		if errors.Is(err, syscall.EWOULDBLOCK) {
			running, err = c.runs()
		}
		if running || err != nil {
			return nil, errors.Join(err, lock.Close())
		}
		runtime.Gosched() // somebody was just asking
	}
}

// runs says whether the agent's script lives. It asks with a shared lock, so that two who ask do not take each other for an agent.
func (c carrier) runs() (bool, error) {
	lock, err := os.OpenFile(c.file("lock"), os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("ask whether CNCI %s runs: %w", c.id, err)
	}
	defer lock.Close()
	err = syscall.Flock(int(lock.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	if err != nil && !errors.Is(err, syscall.EWOULDBLOCK) {
		return false, fmt.Errorf("ask whether CNCI %s runs: %w", c.id, err)
	}
	return err != nil, nil
}

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
	running, err := c.runs()
	if err != nil {
		return status, err
	}
	if begun, err := os.Stat(c.file("processes")); err == nil {
		status.Started = begun.ModTime()
		status.Condition = driver.Ended
	}
	if running && c.outdated() {
		status.Condition, status.Interrupted = driver.Ended, !c.has("stopped")
		status.Finished, status.Reason = status.Started, "the agent's program is new"
		return status, nil
	}
	if running {
		status.Condition = driver.Running
	}
	if status.Condition == driver.Ended {
		c.ending(&status)
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
func (c carrier) ending(status *driver.Status) {
	status.Interrupted = !c.has("stopped")
	status.Finished = status.Started
	text, err := os.ReadFile(c.file("exit"))
	if err != nil {
		status.Reason = "the agent was killed"
		return
	}
	if written, err := os.Stat(c.file("exit")); err == nil {
		status.Finished = written.ModTime()
	}
	if code, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
		status.ExitCode = &code
		status.Reason = fmt.Sprintf("the agent ended with code %d", code)
	}
	if last := c.lastLine(); status.Interrupted && last != "" {
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
