package singlevm

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/ciaocloud/ciao/singlevm/machinetest"
)

// breakage is a fault that is in force.
type breakage struct {
	name string
	mend func()
}

const engineName = "dockerd"

// strike begins a fault on something that has none, and says on what. Most are kills of a daemon, which is soon started again.
func (c *chaos) strike(round int) string {
	c.Helper()
	var on string
	var b *breakage
	switch kind := c.random.IntN(10); {
	case kind < 5:
		on, b = c.killDaemon()
	case kind < 8:
		on, b = c.freezeDaemon()
	case kind < 9:
		on, b = c.partNode()
	default:
		on, b = c.killEngine()
	}
	if b == nil {
		return ""
	}
	c.Logf("round %d: %s", round, b.name)
	kind, _, _ := strings.Cut(b.name, " (")
	c.faults[kind]++
	if b.mend != nil {
		c.broken[on] = b
	}
	return on
}

// victims are the kinds of daemons, of which there may be several.
var victims = []string{"controller", "scheduler", "launcher", "launcher", "cnci", "dhcp"}

// victim is a daemon's process that is not broken; none if the cluster has none of a kind now.
func (c *chaos) victim() (kind string, p machinetest.Process, there bool) {
	c.Helper()
	kind = victims[c.random.IntN(len(victims))]
	found := c.daemon(kind)
	if len(found) == 0 {
		return kind, p, false
	}
	p = found[c.random.IntN(len(found))]
	return kind, p, c.broken[p.Command()] == nil
}

// killDaemon kills a daemon; whoever keeps it starts it again.
func (c *chaos) killDaemon() (string, *breakage) {
	c.Helper()
	kind, p, there := c.victim()
	if !there {
		return "", nil
	}
	b := &breakage{name: "kill: " + nameOf(kind, p)}
	machinetest.Kill(c, p)
	return p.Command(), b
}

// freezeDaemon halts a daemon, or the engine.
func (c *chaos) freezeDaemon() (string, *breakage) {
	c.Helper()
	if c.random.IntN(len(victims)+1) == 0 {
		return c.freezeEngine()
	}
	kind, p, there := c.victim()
	if !there {
		return "", nil
	}
	c.signal(p, syscall.SIGSTOP)
	return p.Command(), &breakage{"freeze: " + nameOf(kind, p), func() { c.signal(p, syscall.SIGCONT) }}
}

func (c *chaos) freezeEngine() (string, *breakage) {
	c.Helper()
	engines := machinetest.Find(c, machinetest.Words("dockerd"))
	if c.broken[engineName] != nil || len(engines) == 0 {
		return "", nil
	}
	p := engines[0]
	c.signal(p, syscall.SIGSTOP)
	return engineName, &breakage{"freeze: dockerd", func() { c.signal(p, syscall.SIGCONT) }}
}

// killEngine ends the engine with all that it runs; it may be away for some rounds.
func (c *chaos) killEngine() (string, *breakage) {
	c.Helper()
	if c.broken[engineName] != nil {
		return "", nil
	}
	return engineName, &breakage{"kill: dockerd", machinetest.KillEngine(c)}
}

// partNode parts a node from the others. Breaking and healing it need the engine.
func (c *chaos) partNode() (string, *breakage) {
	c.Helper()
	number := strconv.Itoa(1 + c.random.IntN(chaosNodes))
	on := "node " + number
	if c.broken[on] != nil || c.broken[engineName] != nil {
		return "", nil
	}
	c.must("node", "partition", number)
	return on, &breakage{"part: node " + number, func() { c.must("node", "heal", number) }}
}

// signal signals a process, which may have been ended by whoever keeps it.
func (c *chaos) signal(p machinetest.Process, number syscall.Signal) {
	c.Helper()
	if !p.Running() {
		return
	}
	if err := syscall.Kill(p.PID, number); err != nil && err != syscall.ESRCH {
		c.Fatalf("signal %s: %v", p.Command(), err)
	}
}

// heal undoes a fault if it is in force. A node is healed when the engine is well.
func (c *chaos) heal(what string) {
	c.Helper()
	b := c.broken[what]
	if b == nil || strings.HasPrefix(what, "node ") && c.broken[engineName] != nil {
		return
	}
	b.mend()
	delete(c.broken, what)
	c.Logf("healed: %s", b.name)
}

func (c *chaos) healAll() {
	c.Helper()
	c.heal(engineName)
	for what := range c.broken {
		c.heal(what)
	}
}

// nameOf tells daemons of a kind apart.
func nameOf(kind string, p machinetest.Process) string {
	return fmt.Sprintf("%s (process %d, %s)", kind, p.PID, filepath.Base(filepath.Dir(p.Args[len(p.Args)-1])))
}
