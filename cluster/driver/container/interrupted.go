package container

import (
	"context"
	"time"

	"github.com/ciaocloud/ciao/cluster/driver"
)

// interrupted decides whether an ended container ended by itself. An engine takes a start that its predecessor was killed in for its own, and
// says that the run began when it found it; but it found it before it took calls.
func (d *Driver) interrupted(ctx context.Context, status driver.Status, outOfMemory bool) (bool, error) {
	if outOfMemory {
		return false, nil
	}
	if d.seen.killed(status) || d.seen.cutOff(status) {
		return true, nil
	}
	engine, restored, err := d.engineStarted(ctx)
	if err != nil || engine.IsZero() || status.Started.After(restored.Add(-slack)) {
		return false, err
	}
	survives, err := d.liveRestore(ctx)
	return ending{
		finished: status.Finished, code: *status.ExitCode,
		engine: engine, broken: d.seen.broken(), survives: survives,
	}.interrupted(), err
}

// slack covers the resolution of the kernel's process times.
const slack = 50 * time.Millisecond

// ending is what is known of the end of a container that was started under an engine before the one that now answers.
type ending struct {
	finished time.Time
	code     int
	engine   time.Time // when the engine that now answers was started
	broken   time.Time // when the stream of events of an engine before it broke; zero if that was not seen
	survives bool      // the engine leaves containers running when it goes down (live-restore)
}

// interrupted applies the rule. A container that ended under the engine that started it ended by itself, unless it was seen to be
// killed by somebody else than this driver, as by an engine that goes down in order. Otherwise: an engine without live-restore never lets a
// container outlive it. Going down in order it stops them all; after a crash its successor stops those that it finds running. So a
// container that finished
//
//   - under the engine that now answers was ended by it;
//   - after the break of the event stream was ended by the engine that went down, or while there was none;
//   - at another time, or when nobody saw the break: its exit code decides. 143 and 137 are the signals that an engine going
//     down sends, 255 is what the engine notes when nobody knows, as after a power failure.
//
// With live-restore containers outlive the engine, and only 255 says that the machine went down.
func (e ending) interrupted() bool {
	switch {
	case e.survives:
		return e.code == 255
	case e.finished.After(e.engine):
		return true
	case !e.broken.IsZero() && e.finished.After(e.broken.Add(-slack)):
		return true
	}
	return e.code == 143 || e.code == 137 || e.code == 255
}
