package singlevm

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/require"
	"github.com/ciaocloud/ciao/singlevm/machinetest"
)

// silentGuest has a machine of an empty disk, which never asks for its address, told of. The launcher is given a shorter time for that, which it
// reads when it is started again.
func (m *machine) silentGuest(ctx context.Context, t *testing.T) {
	t.Helper()
	require.QEMU(t)
	file := layout{DefaultDirectory}.clusterFile()
	text, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(file, bytes.Replace(text, []byte("\nlauncher:\n"), []byte("\nlauncher:\n  guest_grace: 1s\n"), 1), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	machinetest.Kill(m, m.daemon("launcher")...)
	disk := filepath.Join(t.TempDir(), "empty.qcow2")
	if out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", disk, "16M").CombinedOutput(); err != nil {
		t.Fatalf("make an empty disk: %v: %s", err, out)
	}
	operator := m.user(operatorName)
	if err := upload(ctx, operator, "empty", disk); err != nil {
		t.Fatal(err)
	}
	spec := cluster.WorkloadSpec{Kind: cluster.KindVM, Image: "empty", Requirements: cluster.Requirements{VCPUs: cluster.VCPU, MemoryMiB: 64}}
	if _, err := operator.CreateWorkload(ctx, api.NewWorkload("empty", cluster.Public, spec.WithDefaults())); err != nil {
		t.Fatal(err)
	}
	blue := m.user("blue")
	made, err := blue.CreateInstances(ctx, api.CreateInstances{Workload: "empty", Name: "silent"})
	if err == nil {
		made, err = blue.Wait(ctx, made, client.Active, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	machinetest.Eventually(t, "the silent guest is told of", time.Minute, func() bool {
		now, err := blue.Instance(ctx, made[0].ID)
		return err == nil && now.State == cluster.Active && strings.Contains(now.Reason, "ciao console silent")
	})
	events, err := blue.Events(ctx, client.EventFilter{Instance: made[0].ID})
	if err != nil || len(events) == 0 || events[len(events)-1].Reason != "Impaired" {
		t.Errorf("the machine's events are %+v, %v", events, err)
	}
	if _, err = blue.DeleteInstance(ctx, made[0].ID); err == nil {
		_, err = blue.Wait(ctx, made, client.Deleted, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
}
