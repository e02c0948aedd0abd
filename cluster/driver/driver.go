// Package driver is the contract between the launcher and what carries an instance: an engine for containers, QEMU for virtual
// machines, a shim for processes, a namespace and an agent for a CNCI, or nothing but timing in a simulation.
//
// The launcher owns the life cycle: it calls a driver for one instance from one goroutine at a time, and for different instances
// from many at once. Drivers keep no state of their own that outlives the process except what the carrier itself keeps; after a
// restart of the launcher, List finds every carrier that bears this node's mark, whoever made it.
//
// What a driver guarantees, and drivertest checks: every call may be repeated; a cancelled or failed Create leaves nothing that a
// Delete does not remove; Delete of what is not there succeeds; Status after a call returned is never older than that call;
// errors are of a class of package cluster and carry the carrier's own words; a carrier that does not answer yields
// cluster.ErrUnavailable within the context's deadline and blocks no other instance.
package driver

import (
	"context"
	"io"
	"net/netip"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/storage"
)

// Instance is all that a driver needs to know of an instance.
type Instance struct {
	ID         string
	Generation uint64
	Name       string // host name
	Tenant     string
	Kind       cluster.Kind
	Spec       cluster.WorkloadSpec // with its defaults
	Privileged bool
	Network    Network
	Directory  string   // the instance's own directory on the node; exists, mode 0700
	Image      *Image   // the uploaded image that it starts from; nil is one that the driver finds by Spec.Image
	Volumes    []Volume // that it has, in their order; another Create of a newer generation may bring others
}

// Image is the content of an uploaded image on the node. The file never changes, everybody may read it, and it is there as long as the
// instance is.
type Image struct {
	cluster.ImageContent
	Path string
}

// Volume is a volume of an instance, on the node.
type Volume struct {
	ID       string
	Name     string        // for messages
	Place    storage.Place // it was checked
	Target   string        // where the instance finds files
	ReadOnly bool
}

// Network is the instance's prepared place in its tenant's subnet: the port exists before Create is called, and again before every
// Start, for a carrier that dies may take its end of the port with it.
type Network struct {
	Subnet    string
	Prefix    netip.Prefix
	Gateway   netip.Addr // also the DNS server
	Prefix6   netip.Prefix
	Gateway6  netip.Addr // beside Prefix6; both are invalid where the subnet has no IPv6
	Domain    string     // DNS search domain
	MAC       string
	Addresses []netip.Addr
	Port      string // the link that the carrier takes, in the namespace of the engine (containers) or of the node (tap)
	MTU       int
}

// Place is an address of an instance with what a carrier needs to set it up.
type Place struct {
	Address netip.Prefix // with the length of the subnet's prefix
	Gateway netip.Addr   // of the same family
}

// Places are the instance's addresses, in their order, each with the gateway of its family.
func (n Network) Places() []Place {
	var places []Place
	for _, address := range n.Addresses {
		prefix, gateway := n.Prefix, n.Gateway
		if address.Is6() {
			prefix, gateway = n.Prefix6, n.Gateway6
		}
		places = append(places, Place{netip.PrefixFrom(address, prefix.Bits()), gateway})
	}
	return places
}

// Condition is what a carrier does.
type Condition string

// Conditions of a carrier.
const (
	Created Condition = "created" // it exists and has not been started in this generation
	Running Condition = "running"
	Ended   Condition = "ended" // it ran and does not any more
	Absent  Condition = "absent"
)

// Status is a driver's word on one instance.
type Status struct {
	ID         string
	Generation uint64 // of the Create that made the carrier
	Condition  Condition
	ExitCode   *int // when Ended, and known
	// Reason is the carrier's words: when Ended on how, such as out of memory; when Running on what keeps the instance from its work, if
	// anything is known to.
	Reason string
	// Interrupted says that the instance did not end by itself: the carrier's engine or the machine went down under it. The
	// launcher starts such an instance again, unless it knows that the instance was asked to stop: a carrier does not remember
	// who asked for the signal that ended it.
	Interrupted bool
	Started     time.Time
	Finished    time.Time
}

// Driver runs instances of one kind on one node. All methods may be called from many goroutines.
type Driver interface {
	// Kind is the kind of instances that it runs.
	Kind() cluster.Kind

	// Create makes the carrier without starting it: fetches the image, prepares the disks. What it does is told to progress, which
	// may be called until Create returns. An existing carrier of the same generation is kept as it is; one of an older generation is
	// stopped if it runs, and brought to the new one with its disk kept, in which it is Created until it is started; one of a newer
	// generation is cluster.ErrConflict.
	Create(ctx context.Context, instance Instance, progress func(step, message string)) error

	// Start starts a created or ended carrier; a running one is left alone. One that was never created is cluster.ErrNotFound.
	Start(ctx context.Context, id string) error

	// Stop asks the carrier to end, kills it after the grace time, and returns when it has ended. What does not run is left alone.
	Stop(ctx context.Context, id string, grace time.Duration) error

	// Delete removes the carrier, running or not, and all that it owns.
	Delete(ctx context.Context, id string) error

	// Status looks one instance up; an unknown one is Absent, without an error.
	Status(ctx context.Context, id string) (Status, error)

	// List finds all carriers of this driver on this node.
	List(ctx context.Context) ([]Status, error)

	// Watch sends the id of every instance whose status may have changed, until ctx ends; the receiver asks Status. An empty id
	// means that changes may have been missed: the receiver asks List. The channel is closed when ctx has ended.
	Watch(ctx context.Context) <-chan string
}

// Storer is a driver whose instances can have volumes.
type Storer interface {
	Stores(content cluster.VolumeContent) bool
}

// Attacher is a Storer whose running instances can be given volumes, and relieved of them. An instance that does not run is
// cluster.ErrUnavailable: it may run again. After an error of any other class everything is as it was before; after that one it is not known, and
// the same call again leads to what was wanted, or back.
type Attacher interface {
	Storer

	// Attach gives an instance a volume, which it has from then on, also when it is started again in this generation. One that it has is left
	// as it is. An instance that can have no more is cluster.ErrConflict.
	Attach(ctx context.Context, id string, volume Volume) error

	// Attached says whether an instance has a volume, by its id. Who has one that other nodes reach, too, must not be cut off from it.
	Attached(ctx context.Context, id, volume string) (bool, error)

	// Detach takes a volume, by its id, from an instance, and returns when the instance has let go of it; one that does not is
	// cluster.ErrConflict. What it does not have is left alone.
	Detach(ctx context.Context, id, volume string) error
}

// Sampler is a driver that knows what its instances use.
type Sampler interface {
	// Statistics samples the named instances; those that it cannot sample are left out.
	Statistics(ctx context.Context, ids []string) ([]cluster.InstanceStatistics, error)
}

// Housed is a driver whose carriers need room on a disk that is not the launcher's.
type Housed interface {
	// Full says, in one sentence, why that disk has no room for another carrier; empty when it has, or nobody knows.
	Full(ctx context.Context) string
}

// Logger is a driver that keeps what its instances print.
type Logger interface {
	// Logs writes the last lines of what the instance printed to w, all of them if lines is negative, and with follow what it prints
	// until it ends or ctx does.
	Logs(ctx context.Context, id string, lines int, follow bool, w io.Writer) error
}

// Executor is a driver that executes commands in running instances.
type Executor interface {
	// Exec executes a command beside what the instance runs, and returns its exit code when it has ended. With the end of ctx it
	// returns after at most a few seconds, in which the command is asked to end, and killed, as far as the carrier can. An instance that does not run is cluster.ErrConflict.
	Exec(ctx context.Context, id string, e Execution) (exitCode int, err error)
}

// Consoler is a driver whose instances have a console to type at, which one user at a time has.
type Consoler interface {
	// Console carries what is typed to the console of a running instance, and what the instance prints from then on to the user,
	// until the instance ends, which is no error, or ctx does. The end of the input does not end it. An instance that does not run, a
	// console that somebody else has, and one that somebody else has taken over meanwhile, are cluster.ErrConflict.
	Console(ctx context.Context, id string, seat Seat) error
}

// Seat is a user's place at a console.
type Seat struct {
	Takeover bool      // end who has the console, instead of being refused
	Input    io.Reader // it is read until Console returns, or a little longer
	Output   io.Writer // a write that does not come to its end is left behind when Console returns
}

// Execution is a command with its ends.
type Execution struct {
	Command []string
	TTY     bool                        // on a terminal of its own, whose output is all Stdout
	Size    cluster.TerminalSize        // of the terminal at the beginning; zero is the carrier's choice
	Resize  <-chan cluster.TerminalSize // later sizes; may be nil
	Stdin   io.Reader                   // nil is no input; otherwise it is read until Exec returns, or a little longer
	Stdout  io.Writer
	Stderr  io.Writer
}
