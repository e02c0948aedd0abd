package concentrator_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/require"
)

// real are namespaces of the kernel.
type real struct {
	spaces
	name string
}

func (r *real) Create(ctx context.Context, id string) (string, error) {
	_, err := r.spaces.Create(ctx, id)
	return filepath.Join("/var/run/netns", r.name), err
}

// An agent is born into its namespace; the launcher, and every other child of it, stays outside.
func TestAgentRunsInItsNamespace(t *testing.T) {
	require.Root(t)
	require.Command(t, "ip")
	name := fmt.Sprintf("ciao-test-%d", os.Getpid())
	if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
		t.Skipf("no namespace can be made here: %v: %s", err, out)
	}
	t.Cleanup(func() { exec.Command("ip", "netns", "del", name).Run() })
	config := settings(t)
	config.Namespaces = &real{spaces: spaces{names: map[string]bool{}}, name: name}
	d, i := open(t, config), instance()
	begin(t, d, i)
	inode := func(pid any) string {
		link, err := os.Readlink(fmt.Sprintf("/proc/%v/ns/net", pid))
		if err != nil {
			t.Fatal(err)
		}
		return link
	}
	own := inode("self")
	agent := processes(t, config.Instances)[i.ID][1]
	if inode(agent) == own {
		t.Error("the agent runs in the launcher's namespace")
	}
	for range 20 { // wherever the scheduler of goroutines puts them
		out, err := exec.Command("readlink", "/proc/self/ns/net").Output()
		if err != nil || string(out) != own+"\n" {
			t.Fatalf("another child is in %q (%v), want %s", out, err, own)
		}
	}
	if err := d.Stop(t.Context(), i.ID, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if status, err := d.Status(t.Context(), i.ID); err != nil || status.Condition != driver.Ended || status.Interrupted {
		t.Errorf("status is %+v, %v", status, err)
	}
}
