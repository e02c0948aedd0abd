package bat

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Daemon is a process of the cluster as singlevm shows it.
type Daemon struct {
	Name     string `json:"name"`
	Running  bool   `json:"running"`
	PID      int    `json:"pid"`
	Restarts int    `json:"restarts"`
}

// logLines is how much of a daemon's log goes with a failure.
const logLines = "200"

// Daemons lists the cluster's processes; the test is skipped where singlevm does not supervise them.
func (t *T) Daemons(ctx context.Context) []Daemon {
	if t.Cluster.Singlevm == "" {
		t.Skipf("there is no singlevm program beside this one: the daemons of this cluster cannot be reached")
	}
	said, err := t.Cluster.singlevm(ctx, "status", "-o", "json")
	t.Need(err, "run singlevm status")
	if said.Code == 3 || said.Code == 5 {
		t.Skipf("singlevm does not supervise the daemons of this cluster: %s", strings.TrimSpace(said.Err))
	}
	var list struct{ Items []Daemon }
	Said{Out: said.Out}.JSON(t, "singlevm status", &list) // its exit code tells of daemons that are down, which may be why we ask
	return list.Items
}

// Processes are those of this machine that are the program, or a shell's script of that name, and that have the id in their command line. It
// sees those of all nodes where singlevm made them.
func (t *T) Processes(program, id string) (pids []int) {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	t.Need(err, "list processes")
	for _, file := range files {
		line, err := os.ReadFile(file) // one that has ended meanwhile has none
		words := strings.Split(string(line), "\x00")
		is := strings.HasPrefix(filepath.Base(words[0]), program) || len(words) > 3 && words[3] == program
		if err != nil || !is || !strings.Contains(string(line), id) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		t.Need(err, "read %s", file)
		pids = append(pids, pid)
	}
	return pids
}

// Singlevm runs singlevm, which can do to its nodes what happens to machines; the test is skipped where it is not, or may not.
func (t *T) Singlevm(ctx context.Context, args ...string) Said {
	if t.Cluster.Singlevm == "" {
		t.Skipf("there is no singlevm program beside this one: the nodes of this cluster cannot be reached")
	}
	said, err := t.Cluster.singlevm(ctx, args...)
	t.Need(err, "run singlevm %s", strings.Join(args, " "))
	if said.Code == 5 {
		t.Skipf("singlevm needs root for that: %s", strings.TrimSpace(said.Err))
	}
	return said
}

func (c *Cluster) singlevm(ctx context.Context, args ...string) (Said, error) {
	return run(ctx, WithoutCiao(os.Environ()), c.Singlevm, args...)
}

// logs are the last lines of each daemon's log, where they can be had.
func (c *Cluster) logs(ctx context.Context) []Artefact {
	if c.Singlevm == "" {
		return nil
	}
	var logs []Artefact
	for _, name := range []string{"scheduler", "controller", "launcher", "gateway", "dhcp"} {
		said, err := c.singlevm(ctx, "logs", name, "--lines", logLines)
		switch {
		case err != nil:
			logs = append(logs, Artefact{"log of " + name, fmt.Sprintf("cannot be had: %v", err)})
		case said.Code == 0:
			logs = append(logs, Artefact{"log of " + name, said.Out + said.Err})
		}
	}
	return logs
}
