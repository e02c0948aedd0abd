// Package supervise keeps the daemons of a cluster running on one machine: by systemd where it is process 1, by a small supervisor of
// its own elsewhere.
//
// Both are used the same way: Apply hands over the whole list of wanted daemons and converges (starts what is missing, restarts
// what changed, ends what is not wanted), Status says how they are, Remove ends all. A daemon that dies, by whatever signal, is
// started again at once, and after repeated deaths with growing pauses.
//
// What is guaranteed: at most one process of each daemon; a restart of the supervisor takes over the running daemons and does not
// disturb them; every process that descends from a daemon carries Mark in its environment, so that Remove finds also what a
// killed supervisor left behind, and nothing else; a process is only ever signalled after its start time was compared.
package supervise

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"
)

// Daemon is a program that should run as long as the cluster does.
type Daemon struct {
	Name    string   `json:"name"` // lower-case letters and hyphens
	Summary string   `json:"summary"`
	Command []string `json:"command"`         // absolute path of the program, and its arguments
	After   []string `json:"after,omitempty"` // daemons that are started before it
	// Children outlive it: only the daemon's own process is ended with it, not those that it started.
	Children bool `json:"children,omitempty"`
	// Identity changes when the daemon must be restarted although its command is the same: its program or its files are new.
	Identity string `json:"identity"`
}

// Status is how one daemon is.
type Status struct {
	Name     string    `json:"name"`
	Running  bool      `json:"running"`
	PID      int       `json:"pid,omitempty"`
	Since    time.Time `json:"since,omitzero"`
	Restarts int       `json:"restarts"`
	Problem  string    `json:"problem,omitempty"` // why it is not running, or ended last
}

// Supervisor keeps daemons running.
type Supervisor interface {
	// Apply makes exactly these daemons run, and returns when each was started.
	Apply(ctx context.Context, daemons []Daemon) error
	// Status says how the daemons are that were applied last.
	Status(ctx context.Context) ([]Status, error)
	// Remove ends all daemons and everything that they started.
	Remove(ctx context.Context) error
	// Logs is a command that prints the log of one daemon, or the file that holds it.
	Logs(daemon string, lines int, follow bool) []string
}

// Config says where a supervisor keeps its things.
type Config struct {
	Cluster   string // its name marks processes and units
	Directory string // for the list of daemons, their process ids and logs
	// Program and Arguments start this package's own supervisor, which calls Serve; used where systemd does not run.
	Program   string
	Arguments []string
}

// New chooses systemd where it is process 1.
func New(config Config) Supervisor {
	if SystemdRuns() {
		return &systemd{config}
	}
	return &own{config}
}

// SystemdRuns says whether systemd manages this machine (sd_booted(3)).
func SystemdRuns() bool {
	info, err := os.Stat("/run/systemd/system")
	return err == nil && info.IsDir()
}

// Mark is the name of the environment variable that every process of a cluster carries; its value is the cluster's name.
const Mark = "CIAO_SUPERVISED_CLUSTER"

// IdentityOf digests files that a daemon depends on, so that it is restarted when they change.
func IdentityOf(files ...string) (string, error) {
	sum := sha256.New()
	for _, name := range files {
		info, err := os.Stat(name)
		if err != nil {
			return "", fmt.Errorf("look at what a daemon needs: %w", err)
		}
		fmt.Fprintln(sum, name, info.Size(), info.ModTime().UnixNano())
	}
	return hex.EncodeToString(sum.Sum(nil)[:8]), nil
}

// same says whether two descriptions want the same process.
func same(a, b Daemon) bool {
	return slices.Equal(a.Command, b.Command) && a.Identity == b.Identity && a.Children == b.Children
}

func find(daemons []Daemon, name string) (Daemon, bool) {
	i := slices.IndexFunc(daemons, func(d Daemon) bool { return d.Name == name })
	if i < 0 {
		return Daemon{}, false
	}
	return daemons[i], true
}

// writeFile replaces a file atomically, so that a reader never sees half of it.
func writeFile(name string, data []byte) error {
	temporary := name + "." + strconv.Itoa(os.Getpid())
	if err := os.WriteFile(temporary, data, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := os.Rename(temporary, name); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

func writeJSON(name string, value any) error {
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return writeFile(name, data)
}

func readJSON(name string, into any) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	return nil
}
