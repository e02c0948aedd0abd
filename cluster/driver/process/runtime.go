package process

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver/cgroup"
	"github.com/ciaocloud/ciao/cluster/driver/shim"
)

const (
	runtimeLog = "runtime.log"
	maxOutput  = 4 << 20 // bytes of each of the two files of output, as the container driver's
	upEvery    = 5 * time.Millisecond
)

// options begin every call of the runtime for an instance.
func (d *Driver) options(c carrier, log string) []string {
	return []string{d.runtime, "--root", c.file("state"), "--log", log, "--log-format", "json"}
}

// launch starts the process under its shim, and returns when it runs.
func (d *Driver) launch(ctx context.Context, c carrier, described description, turn *shim.Turn) error {
	stale, _ := filepath.Glob(c.file("exec-*.log")) // of a launcher that was killed; the pattern is well formed
	for _, file := range append(stale, c.file("up"), c.file(runtimeLog)) {
		if err := os.Remove(file); err != nil && !missing(err) {
			return fmt.Errorf("tidy up instance %s: %w", c.id, err)
		}
	}
	spec, err := d.spec(c, described)
	if err != nil {
		return err
	}
	if err := c.write("config.json", spec); err != nil {
		return err
	}
	if err := d.connect(c.id, described.Network); err != nil {
		return fmt.Errorf("instance %s: %w", c.id, err)
	}
	run := append(d.options(c, c.file(runtimeLog)), "run", "--keep", "--bundle", c.directory, "--pid-file", c.file("up"), c.id)
	err = turn.Start(ctx, shim.Program{Arguments: run, Limit: maxOutput})
	if err != nil {
		return err
	}
	return d.awaitUp(ctx, c)
}

// awaitUp returns when the runtime has noted that the process runs, and the init has begun the command: before that a signal would be lost.
func (d *Driver) awaitUp(ctx context.Context, c carrier) error {
	tick := time.NewTicker(upEvery)
	defer tick.Stop()
	for {
		running, err := c.shim().Running() // asked before the note is looked for: it may come up and end
		if err != nil {
			return err
		}
		up := c.has("up")
		inside, err := cgroup.Processes(cgroup.Root, d.mark(c.id))
		if err != nil || up && (!running || len(inside) > 1) {
			return err
		}
		if !running {
			return fmt.Errorf("%w: the process of instance %s cannot be started: %s", cluster.ErrInvalid, c.id, cmp.Or(complaint(c.file(runtimeLog)), "its runtime was killed"))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: the process of instance %s did not come up: %w", cluster.ErrUnavailable, c.id, context.Cause(ctx))
		}
	}
}

// complaint is the runtime's last error, by its log.
func complaint(log string) (words string) {
	data, err := os.ReadFile(log)
	if err != nil {
		return ""
	}
	for line := range bytes.Lines(data) {
		var entry struct{ Level, Msg string }
		if json.Unmarshal(line, &entry) == nil && entry.Level == "error" {
			words = entry.Msg
		}
	}
	return words
}

// forget has the runtime end what is left of the last run, and forget it.
func (d *Driver) forget(ctx context.Context, c carrier) error {
	if !c.has("state/" + c.id) {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, d.scaled(killWait))
	defer cancel()
	arguments := append(d.options(c, c.file(runtimeLog)), "delete", "--force", c.id)
	words, err := exec.CommandContext(limited, arguments[0], arguments[1:]...).CombinedOutput()
	if err != nil {
		d.logger.Warn("the runtime does not forget a process; its notes are removed", "instance", c.id, "error", errors.Join(err, errors.New(strings.TrimSpace(string(words)))))
	}
	return os.RemoveAll(c.file("state")) // the control group is removed next, with whoever is in it
}
