package container_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/require"
)

// TestFullDisk: while the engine's disk is full, what runs runs on, what is made or given to the engine is refused for want of room, and what is
// started is to be tried again, with the engine's words; the driver says so, and all works when there is room.
func TestFullDisk(t *testing.T) {
	require.Docker(t)
	engine := newPrivateEngine(t)
	n := newNode(t, engine.host)
	running, created, late := n.instance(t, untilStopped), n.instance(t, untilStopped), n.instance(t, untilStopped)
	given := n.instance(t, untilStopped)
	given.Image = uploaded(t, cluster.FormatTar, exported(t, n))
	n.run(t, running)
	if err := n.driver.Create(t.Context(), created, nil); err != nil {
		t.Fatal(err)
	}
	if why := n.driver.Full(t.Context()); why != "" {
		t.Errorf("with room: %q", why)
	}
	free := require.Fill(t, filepath.Join(engine.directory, "data"), 0)
	if why := n.driver.Full(t.Context()); !strings.Contains(why, "the Docker Engine's disk, of "+engine.directory+"/data, is full: free some space there") {
		t.Errorf("without room: %q", why)
	}
	steps := map[string]struct {
		do    func() error
		class error
	}{
		"create":      {func() error { return n.driver.Create(t.Context(), late, nil) }, cluster.ErrNoCapacity},
		"start":       {func() error { return n.driver.Start(t.Context(), created.ID) }, cluster.ErrUnavailable},
		"give images": {func() error { return n.driver.Create(t.Context(), given, nil) }, cluster.ErrNoCapacity},
	}
	for name, step := range steps {
		err := step.do()
		if !errors.Is(err, step.class) || !strings.Contains(err.Error(), "the Docker Engine's disk is full: free some space there") || !strings.Contains(err.Error(), "no space left on device") {
			t.Errorf("%s without room: %v", name, err)
		}
	}
	if status, err := n.driver.Status(t.Context(), running.ID); err != nil || status.Condition != driver.Running {
		t.Errorf("what ran is %+v, %v", status, err)
	}
	free()
	if why := n.driver.Full(t.Context()); why != "" {
		t.Errorf("with room again: %q", why)
	}
	for name, step := range steps {
		if err := step.do(); err != nil {
			t.Errorf("%s with room again: %v", name, err)
		}
	}
}
