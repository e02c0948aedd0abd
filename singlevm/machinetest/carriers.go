package machinetest

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/ciaocloud/ciao/cluster/chaostest"
	"github.com/ciaocloud/ciao/cluster/driver/container"
)

// Carriers finds the containers of a cluster that live, whether the engine answers or not: their processes tell, by their groups.
type Carriers struct {
	cluster string
	engine  string // the engine's directory
	known   map[string]chaostest.Copy
}

// NewCarriers asks the engine where it keeps its files.
func NewCarriers(t testing.TB, cluster string) *Carriers {
	t.Helper()
	out, err := exec.Command("docker", "info", "-f", "{{.DockerRootDir}}").Output()
	if err != nil {
		t.Fatalf("ask the engine for its directory: %v", err)
	}
	return &Carriers{cluster: cluster, engine: strings.TrimSpace(string(out)), known: make(map[string]chaostest.Copy)}
}

// group is that of a container, whatever the version of the kernel's groups and whoever manages them.
var group = regexp.MustCompile(`/(?:docker-)?([0-9a-f]{64})(?:\.scope)?(?:/|$)`)

// Live are the instances that have a process in a container of their own. The place is the container's id.
func (c *Carriers) Live() ([]chaostest.Copy, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	live := make(map[string]chaostest.Copy)
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		id := groupOf(pid)
		if _, running := look(pid); id == "" || !running {
			continue
		}
		if copied, ours := c.copyIn(id); ours {
			live[id] = copied
		}
	}
	var list []chaostest.Copy
	for _, copied := range live {
		list = append(list, copied)
	}
	return list, nil
}

// groupOf is the container whose group a process is in; empty for none and for a process that has ended.
func groupOf(pid int) string {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cgroup"))
	if err != nil {
		return ""
	}
	found := group.FindAllStringSubmatch(strings.TrimSpace(string(text)), -1)
	if len(found) == 0 {
		return ""
	}
	return found[len(found)-1][1]
}

// copyIn reads the engine's own file, in which the labels are.
func (c *Carriers) copyIn(id string) (copied chaostest.Copy, ours bool) {
	if copied, known := c.known[id]; known {
		return copied, copied.Instance != ""
	}
	text, err := os.ReadFile(filepath.Join(c.engine, "containers", id, "config.v2.json"))
	if err != nil {
		return copied, false // another engine's
	}
	var file struct {
		Config struct{ Labels map[string]string }
	}
	if err := json.Unmarshal(text, &file); err != nil {
		return copied, false // it is being written
	}
	labels := file.Config.Labels
	if labels[container.LabelCluster] == c.cluster && labels[container.LabelInstance] != "" {
		generation, _ := strconv.ParseUint(labels[container.LabelGeneration], 10, 64)
		copied = chaostest.Copy{Instance: labels[container.LabelInstance], Place: id[:12] + " on " + labels[container.LabelNode], Generation: generation}
	}
	c.known[id] = copied
	return copied, copied.Instance != ""
}
