package launcher

import (
	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
)

func (m *machine) isActive() bool {
	return m.carrier.Condition == driver.Running && m.carrier.Generation == m.generation
}

func (m *machine) isExited() bool {
	return m.carrier.Condition == driver.Ended && m.carrier.Generation == m.generation && !m.carrier.Interrupted
}

// settle notes a lasting state that has been reached. It outlives the launcher, so that a one-shot instance is not run again
// because its carrier was tidied away, and so that an instance keeps its state while its engine is down.
func (m *machine) settle() {
	switch state := m.state(); state {
	case cluster.Active, cluster.Stopped, cluster.Exited:
		m.settled, m.lastTry = state, ""
	}
}

// state is what is reported of the instance.
func (m *machine) state() cluster.State {
	switch {
	case m.gone:
		return cluster.Gone
	case m.want == cluster.WantDeleted:
		return cluster.Deleting
	case m.want == cluster.WantStopped:
		return m.stoppedState()
	case m.failure != "":
		return cluster.Failed
	case m.isActive(), m.carrier.Condition == "" && m.settled == cluster.Active:
		return cluster.Active
	case m.settled == cluster.Exited, m.isExited():
		return cluster.Exited
	}
	return cluster.Starting
}

func (m *machine) stoppedState() cluster.State {
	switch {
	case m.settled == cluster.Stopped && m.carrier.Condition != driver.Running:
		return cluster.Stopped
	case m.carrier.Condition == "", m.carrier.Condition == driver.Running:
		return cluster.Stopping
	case m.running != idle && m.running != look:
		return cluster.Stopping // the end of a start that is being cancelled
	}
	return cluster.Stopped
}

// reason says why the instance is in its state; empty when there is nothing to say.
func (m *machine) reason() string {
	switch m.state() {
	case cluster.Failed:
		return m.failure
	case cluster.Exited:
		return m.carrier.Reason
	case cluster.Active:
		if m.carrier.Condition != "" {
			return m.carrier.Reason
		}
	case cluster.Starting:
		if m.lastTry != "" {
			return "it is tried again; the last try ended so: " + m.lastTry
		}
	}
	return m.trouble
}
