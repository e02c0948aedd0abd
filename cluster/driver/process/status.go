package process

import (
	"fmt"

	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/driver/cgroup"
	"github.com/ciaocloud/ciao/cluster/driver/shim"
)

func (d *Driver) status(c carrier) (driver.Status, error) {
	status := driver.Status{ID: c.id, Condition: driver.Absent}
	described, err := c.describe()
	if missing(err) {
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
	status.Condition, status.Started = driver.Running, state.Begun
	if !state.Running {
		status.Condition = driver.Ended
		d.ending(c, &status, state)
	}
	return status, nil
}

// ending says how it ended. Without a code its shim was killed, too, or the machine went down; without the runtime's word that it was up it
// has never run.
func (d *Driver) ending(c carrier, status *driver.Status, state shim.State) {
	status.Finished = state.Begun
	if state.Code == nil || !c.has("up") {
		status.Interrupted = !state.Asked
		status.Reason = "its shim was killed, or the machine went down under it"
		return
	}
	status.Finished, status.ExitCode = state.Ended, state.Code
	status.Reason = reason(*state.Code, c.shim().LastLine)
	if *state.Code != 0 && !state.Asked && cgroup.OutOfMemory(cgroup.Root, d.mark(c.id)) {
		status.Reason = "out of memory: it needed more than its limit"
	}
}

// reason puts an exit code into words. What has no words of its own may have told the output why it could not begin.
func reason(code int, lastLine func() string) string {
	switch {
	case code > 128 && code < 128+65:
		return fmt.Sprintf("ended by signal %d", code-128)
	case code == 126, code == 127:
		return fmt.Sprintf("exited with code %d: %s", code, lastLine())
	}
	return fmt.Sprintf("exited with code %d", code)
}
