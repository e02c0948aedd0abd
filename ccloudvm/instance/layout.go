package instance

import (
	"os"
	"path/filepath"
)

// On disk. Below Layout.State (XDG_DATA_HOME/ccloudvm):
//
//	id_ed25519, id_ed25519.pub   the key that opens every instance of the user
//	lock                         held while a name and an address are chosen
//	instances/NAME.lock          held by the command that works on NAME; holds its pid and verb
//	instances/NAME/              mode 0700
//	    instance.json            what was asked for and decided (Record)
//	    run.json                 the supervisor's notes about the newest run (Run)
//	    events.jsonl             what the guest reported in that run, a guest.Report per line
//	    cloud-config             the rendered user data; may hold proxy passwords
//	    seed.iso disk.qcow2      what QEMU boots
//	    bios                     the firmware, when the workload brings one
//	    console.log              everything the guest wrote on its serial line
//	    supervisor.log           what the supervisor had to say
//	    supervisor.lock          held by the supervisor
//	    ssh.config known_hosts   for OpenSSH and editors
//	    qemu.*                   package qemu's notes about the process
//
// Sockets have short paths of their own (qemu.SocketDir). Images lie in the cache (package image), as does the accelerator's probe.
const (
	keyFile            = "id_ed25519"
	allocationLock     = "lock"
	instancesDir       = "instances"
	lockSuffix         = ".lock"
	recordFile         = "instance.json"
	runFile            = "run.json"
	eventsFile         = "events.jsonl"
	userDataFile       = "cloud-config"
	seedFile           = "seed.iso"
	diskFile           = "disk.qcow2"
	biosFile           = "bios"
	consoleFile        = "console.log"
	supervisorLogFile  = "supervisor.log"
	supervisorLockFile = "supervisor.lock"

	superviseSocket = "supervise.qmp"
	commandSocket   = "command.qmp"
	statusSocket    = "status.qmp"
	progressSocket  = "progress"
)

// Layout says where the state of a user's instances lies.
type Layout struct {
	State string // instances and keys
	Cache string // images, downloads, probe results
}

// DefaultLayout is the layout of the XDG base directories.
func DefaultLayout(getenv func(string) string, home string) Layout {
	dir := func(variable, standard string) string {
		if v := getenv(variable); filepath.IsAbs(v) {
			return filepath.Join(v, "ccloudvm")
		}
		return filepath.Join(home, standard, "ccloudvm")
	}
	return Layout{State: dir("XDG_DATA_HOME", ".local/share"), Cache: dir("XDG_CACHE_HOME", ".cache")}
}

// Dir is the directory of an instance.
func (l Layout) Dir(name string) string { return filepath.Join(l.State, instancesDir, name) }

func (l Layout) file(name, file string) string { return filepath.Join(l.Dir(name), file) }

// ConsoleLog is the file that holds everything the guest wrote on its serial line.
func (l Layout) ConsoleLog(name string) string { return l.file(name, consoleFile) }

// SupervisorLog is the file that holds what the instance's supervisor had to say.
func (l Layout) SupervisorLog(name string) string { return l.file(name, supervisorLogFile) }

// SSHConfig is an OpenSSH configuration for the instance: ssh -F FILE NAME.
func (l Layout) SSHConfig(name string) string { return l.file(name, "ssh.config") }

// KeyFile is the private key that opens every instance.
func (l Layout) KeyFile() string { return filepath.Join(l.State, keyFile) }

func (l Layout) prepare() error {
	return os.MkdirAll(filepath.Join(l.State, instancesDir), 0o700)
}
