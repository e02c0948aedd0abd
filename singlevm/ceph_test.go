package singlevm

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/cluster/storage/ceph/cephtest"
	"github.com/ciaocloud/ciao/singlevm/machinetest"
)

// guestWrites says what is at the beginning of the second disk, and writes a word there. On a third disk, which may come at any time, it writes another.
const guestWrites = `#cloud-config
user: ciao
runcmd:
  - echo "volume says <$(head -c 4 /dev/vdb | tr -d '\000')>"; echo kept | dd of=/dev/vdb conv=notrunc; sync; echo volume-was-written
  - (until head -c 1 /dev/vdc >/dev/null 2>&1; do sleep 0.2; done; echo late | dd of=/dev/vdc conv=notrunc; sync; echo late-volume-was-written) &
`

const guestLimit = 3 * time.Minute // until an emulated guest on a busy machine has done that

// TestCephOnTwoNodes: a machine that runs is given a volume, and gives it back. It takes its own along when its node is evacuated, and when that is parted from the others and given up: there the
// old copy runs on, and is cut off.
func TestCephOnTwoNodes(t *testing.T) {
	c := cephtest.Start(t) // before the machine is looked at
	m := newMachine(t)
	part := filepath.Join(t.TempDir(), "storage.yaml")
	text := fmt.Sprintf("storage:\n  ceph: {pool: %s, configuration: %s, user: %s, keyring: %s}\n", cephtest.Pool, c.Configuration, cephtest.User, c.Keyring)
	if err := os.WriteFile(part, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*commandLimit)
	defer cancel()
	m.must("setup", "--nodes", "2", "--storage", part)
	operator := m.user(operatorName)
	blue := operator.ForTenant("blue")
	spec := cluster.WorkloadSpec{
		Kind: cluster.KindVM, Image: tinyImage, CloudInit: guestWrites, Requirements: cluster.Requirements{VCPUs: cluster.VCPU, MemoryMiB: 128},
	}
	if _, err := blue.CreateWorkload(ctx, api.NewWorkload("writer", cluster.Private, spec)); err != nil {
		t.Fatal(err)
	}
	if _, err := blue.CreateVolume(ctx, api.CreateVolume{Name: "data", SizeMiB: 8}); err != nil {
		t.Fatal(err)
	}
	made, err := blue.CreateInstances(ctx, api.CreateInstances{Workload: "writer", Name: "writer", Volumes: []api.InstanceVolume{{Volume: "data"}}})
	if err != nil {
		t.Fatal(err)
	}
	first := m.active(ctx, blue, made)[0]
	m.guestSays(ctx, blue, first, "volume says <>", "volume-was-written")
	m.attachedLate(ctx, blue, c, first)

	if _, err := operator.EvacuateNode(ctx, first.Node, false); err != nil {
		t.Fatal(err)
	}
	second := m.movedFrom(ctx, blue, first)
	m.guestSays(ctx, blue, second, "volume says <kept>", "volume-was-written")
	if _, err := operator.RestoreNode(ctx, first.Node); err != nil {
		t.Fatal(err)
	}

	number := m.numberOf(ctx, operator, second.Node)
	m.must("node", "partition", strconv.Itoa(number))
	m.nodeState(ctx, number, cluster.NodeMissing)
	if _, err := operator.EvacuateNode(ctx, second.Node, true); err != nil {
		t.Fatal(err)
	}
	third := m.movedFrom(ctx, blue, second)
	m.guestSays(ctx, blue, third, "volume says <kept>", "volume-was-written")
	if blocked := c.Ceph(t, "osd", "blocklist", "ls"); !strings.Contains(blocked, "127.0.0.1:0/") {
		t.Errorf("nobody was cut off: %q", blocked)
	}
	m.must("node", "heal", strconv.Itoa(number))

	if _, err := blue.DeleteInstance(ctx, third.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := blue.Wait(ctx, []api.Instance{third}, client.Deleted, nil); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"data", "late"} {
		if err := blue.DeleteVolume(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	machinetest.Eventually(m, "the volumes are gone", time.Minute, func() bool {
		left, err := blue.Volumes(ctx)
		return err == nil && len(left) == 0
	})
	if left := c.RBD(t, "ls", cephtest.Pool); left != "" {
		t.Errorf("left in Ceph: %s", left)
	}
	m.cleanup()
	m.restored("a cluster with disks in Ceph, and cleanup")
}

// attachedLate gives a running machine a volume, which its guest writes to, and takes it back.
func (m *machine) attachedLate(ctx context.Context, blue *client.Client, c cephtest.Cluster, i api.Instance) {
	m.Helper()
	v, err := blue.CreateVolume(ctx, api.CreateVolume{Name: "late", SizeMiB: 8})
	if err == nil {
		_, err = blue.AttachVolume(ctx, v.ID, api.AttachVolume{Instance: i.ID})
	}
	if err == nil {
		v, err = blue.AwaitVolume(ctx, v.ID, cluster.VolumeAttached)
	}
	if err != nil || v.Storage != cluster.StorageCeph {
		m.Fatalf("attached: %+v, %v", v, err)
	}
	m.guestSays(ctx, blue, i, "late-volume-was-written")
	if _, err = blue.DetachVolume(ctx, v.ID); err == nil {
		_, err = blue.AwaitVolume(ctx, v.ID, cluster.VolumeAvailable)
	}
	if err != nil {
		m.Fatal(err)
	}
	written := filepath.Join(m.TempDir(), "late")
	c.RBD(m, "export", "--no-progress", cephtest.Pool+"/"+v.ID, written)
	if data, err := os.ReadFile(written); err != nil || !bytes.HasPrefix(data, []byte("late")) {
		m.Errorf("the guest wrote %.4q, %v", data, err)
	}
}

// guestSays waits until a guest has said all of that.
func (m *machine) guestSays(ctx context.Context, c *client.Client, i api.Instance, words ...string) {
	m.Helper()
	var said bytes.Buffer
	defer func() {
		if m.Failed() {
			m.Logf("the guest said:\n%s", &said)
		}
	}()
	machinetest.Eventually(m, fmt.Sprintf("%s says %q", i.Name, words), guestLimit, func() bool {
		said.Reset()
		if err := c.Logs(ctx, i.ID, client.Logs{Tail: -1}, &said); err != nil {
			return false
		}
		for _, word := range words {
			if !bytes.Contains(said.Bytes(), []byte(word)) {
				return false
			}
		}
		return true
	})
}

// movedFrom waits until an instance is active on another node.
func (m *machine) movedFrom(ctx context.Context, c *client.Client, before api.Instance) (now api.Instance) {
	m.Helper()
	machinetest.Eventually(m, before.Name+" is active on another node", guestLimit, func() bool {
		var err error
		now, err = c.Instance(ctx, before.ID)
		return err == nil && now.State == cluster.Active && now.Node != before.Node
	})
	return now
}

// numberOf is a node's number.
func (m *machine) numberOf(ctx context.Context, operator *client.Client, id string) int {
	m.Helper()
	found, err := operator.Node(ctx, id)
	if err != nil {
		m.Fatal(err)
	}
	if found.Hostname == m.hostname(2) {
		return 2
	}
	return 1
}
