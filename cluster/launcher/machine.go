package launcher

import (
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
)

// operation is something that is done for an instance and takes time. At most one is under way.
type operation string

const (
	idle       operation = ""
	look       operation = "look"       // ask the driver for the carrier's status
	connect    operation = "network"    // make the port
	create     operation = "create"     // make the carrier
	start      operation = "start"      // start the carrier
	stop       operation = "stop"       // end the carrier
	remove     operation = "remove"     // remove the carrier
	change     operation = "change"     // give the running carrier a volume, or take one from it
	disconnect operation = "disconnect" // remove the port
	forget     operation = "forget"     // remove the record and the directory
)

// outcome is how an operation ended.
type outcome struct {
	operation  operation
	generation uint64 // that was wanted when it began
	failed     failure
	reason     string        // of the failure, for the user to read
	status     driver.Status // look
}

// failure is the class of an operation's error.
type failure uint8

const (
	succeeded   failure = iota
	unavailable         // trying again may help
	refused             // trying again does not help
	noRoom              // another node may do
)

// action is what the owner does next.
type action struct {
	run    operation     // begin this
	cancel bool          // tell the operation under way to end
	wait   time.Duration // tell the machine when this has passed
}

// machine is one instance's state. Its methods are events; each returns the next action. It has no clock and does no I/O.
type machine struct {
	want       cluster.Desired
	generation uint64

	changes   bool // of the running carrier's volumes are wanted
	running   operation
	cancelled bool
	waiting   bool   // for a back-off to pass
	attempts  int    // of the present start that found something unavailable
	setbacks  int    // failures in a row of what is not a start
	crashes   int    // interruptions in a row, each soon after the start
	trouble   string // what was unavailable
	lastTry   string // why the present start is tried again: what the try before failed with

	carrier  driver.Status // Condition "" is unknown
	stale    bool          // the carrier may have changed since
	prepared progress      // of the present start
	removed  bool          // the carrier was removed since it was last wanted
	detached bool          // the port too

	settled cluster.State // last lasting state of this generation, kept on disk
	failure string        // why this generation failed, kept on disk
	retry   bool          // another node may do
	gone    bool
}

// progress is how far a start has come.
type progress uint8

const (
	fresh progress = iota
	connected
	created
)

// maxAttempts bounds how often a start is tried while something is unavailable: about five minutes with the back-off below.
const maxAttempts = 64

const (
	minBackoff = 100 * time.Millisecond
	maxBackoff = 5 * time.Second
)

// newer says whether a command changes anything. Within one generation, stopping goes over starting and deleting over both, so that
// a late Start cannot undo what came after it.
func (m *machine) newer(want cluster.Desired, generation uint64) bool {
	return generation > m.generation || generation == m.generation && rank(want) > rank(m.want)
}

func rank(want cluster.Desired) int {
	switch want {
	case cluster.WantActive:
		return 1
	case cluster.WantStopped:
		return 2
	case cluster.WantDeleted:
		return 3
	}
	return 0
}

// command is the event that the controller wants something newer.
func (m *machine) command(want cluster.Desired, generation uint64) action {
	m.wish(want, generation)
	return m.next()
}

func (m *machine) wish(want cluster.Desired, generation uint64) {
	m.want, m.generation = want, generation
	m.settled, m.failure, m.retry = "", "", false
	m.attempts, m.setbacks, m.crashes, m.waiting, m.trouble, m.lastTry = 0, 0, 0, false, "", ""
	m.prepared, m.removed, m.detached, m.changes = fresh, false, false, false
}

// refuse is the event that the controller wants a start that cannot even begin.
func (m *machine) refuse(generation uint64, reason string, retry bool) action {
	m.wish(cluster.WantActive, generation)
	return m.fail(reason, retry)
}

func (m *machine) fail(reason string, retry bool) action {
	m.failure, m.retry = reason, retry
	return m.next()
}

// changed is the event that the carrier may have changed. It shortens no back-off: what is tried in vain may itself change things.
func (m *machine) changed() action {
	m.stale = true
	return m.next()
}

// rearranged is the event that it has changed which changes of volumes are wanted.
func (m *machine) rearranged(wanted bool) action {
	m.changes = wanted
	return m.next()
}

// revived is the event that the engine answers again.
func (m *machine) revived() action {
	m.stale, m.waiting = true, false
	return m.next()
}

// passed is the event that the back-off is over.
func (m *machine) passed() action {
	m.waiting = false
	return m.next()
}

// ended is the event that the operation under way has ended.
func (m *machine) ended(o outcome) action {
	cancelled := m.cancelled || o.generation != m.generation
	m.running, m.cancelled = idle, false
	switch {
	case o.operation == change: // however it ended, nothing follows from it for the instance
		return m.next()
	case o.failed == succeeded:
		m.succeed(o)
		if pause := m.pause(o.operation); pause > 0 {
			m.waiting = true
			return action{wait: pause}
		}
		return m.next()
	case cancelled:
		m.carrier.Condition = "" // it may have come halfway
		return m.next()
	}
	return m.setback(o)
}

// setback deals with an operation that failed: a start gives up when trying again does not help, everything else is tried for ever.
func (m *machine) setback(o outcome) action {
	m.trouble, m.waiting = o.reason, true
	switch o.operation {
	case connect, create, start:
		m.prepared, m.carrier.Condition, m.lastTry = fresh, "", o.reason
		m.attempts++
		if o.failed != unavailable || m.attempts >= maxAttempts {
			m.waiting = false
			return m.fail(o.reason, o.failed == noRoom)
		}
		return action{wait: backoff(m.attempts)}
	case look:
		m.stale = true
	case stop:
		m.carrier.Condition = ""
	}
	m.setbacks++
	return action{wait: backoff(m.setbacks)}
}

// steady is how long an instance must have run for its interruption to be no part of a row.
const steady = time.Minute

// pause is how long to wait before an interrupted instance is started again: not at all the first time.
func (m *machine) pause(o operation) time.Duration {
	c := m.carrier
	if o != look || m.want != cluster.WantActive || c.Condition != driver.Ended || !c.Interrupted || c.Generation != m.generation {
		return 0
	}
	if c.Finished.Sub(c.Started) >= steady {
		m.crashes = 0
	}
	m.crashes++
	m.lastTry = c.Reason
	if m.crashes == 1 {
		return 0
	}
	return backoff(m.crashes - 1)
}

func backoff(attempts int) time.Duration {
	return min(maxBackoff, minBackoff<<min(attempts-1, 10))
}

// succeed notes what an operation that ended well has changed.
func (m *machine) succeed(o outcome) {
	m.trouble, m.setbacks = "", 0
	switch o.operation {
	case look:
		m.observe(o.status)
	case connect:
		m.prepared = connected
	case create:
		m.prepared = created
		m.carrier = driver.Status{Condition: driver.Created, Generation: o.generation}
	case start:
		m.attempts, m.prepared = 0, fresh
		m.carrier = driver.Status{Condition: driver.Running, Generation: m.carrier.Generation}
	case stop:
		m.carrier = driver.Status{Condition: driver.Ended, Generation: m.carrier.Generation}
	case remove:
		m.removed, m.carrier = true, driver.Status{Condition: driver.Absent}
	case disconnect:
		m.detached = true
	case forget:
		m.gone = true
	}
	if o.generation != m.generation {
		m.prepared = fresh // of an older start
	}
}

// observe takes the driver's word on the carrier.
func (m *machine) observe(status driver.Status) {
	if status.Condition == driver.Absent && m.settled == cluster.Exited {
		return // tidied away after it ended: how it ended is known
	}
	m.carrier = status
	if status.Generation > m.generation {
		m.generation = status.Generation // made just before the launcher was killed
	}
	if m.want == cluster.WantActive && m.settled == cluster.Active && m.state() != cluster.Active {
		m.settled = "" // it has to be found out anew what becomes of it
	}
}

// next decides what to do: the one place where the wanted and the present state meet.
func (m *machine) next() action {
	m.settle()
	switch {
	case m.gone, m.waiting:
		return action{}
	case m.running != idle:
		return m.interrupt()
	case m.want == cluster.WantDeleted:
		return m.begin(m.deleting())
	case m.stale || m.carrier.Condition == "":
		m.stale = false
		return m.begin(look)
	case m.want == cluster.WantStopped, m.failure != "": // what has failed does not run
		return m.begin(m.stopping())
	}
	return m.begin(m.starting())
}

func (m *machine) begin(o operation) action {
	m.running = o
	return action{run: o}
}

// interrupt cancels the operation under way if it leads away from what is wanted.
func (m *machine) interrupt() action {
	var unwanted bool
	switch m.running {
	case connect, create, start:
		unwanted = m.want != cluster.WantActive || m.prepared == fresh && m.running != connect
	case stop:
		unwanted = m.want == cluster.WantDeleted
	case change:
		unwanted = m.want != cluster.WantActive || m.carrier.Generation != m.generation
	}
	if !unwanted || m.cancelled {
		return action{}
	}
	m.cancelled = true
	return action{cancel: true}
}

func (m *machine) starting() operation {
	switch {
	case m.isActive() && m.changes:
		return change
	case m.settled == cluster.Exited, m.isActive():
		return idle
	case m.carrier.Condition == driver.Running:
		return stop // an older generation
	case m.prepared == fresh:
		return connect
	case m.prepared == connected:
		return create
	}
	return start
}

func (m *machine) stopping() operation {
	if m.carrier.Condition == driver.Running {
		return stop
	}
	return idle
}

func (m *machine) deleting() operation {
	switch {
	case !m.removed:
		return remove
	case !m.detached:
		return disconnect
	}
	return forget
}
