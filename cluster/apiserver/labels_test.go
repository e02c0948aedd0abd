package apiserver_test

import (
	"context"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/apiserver/apiservertest"
	"github.com/ciaocloud/ciao/cluster/client"
)

// What the operator of a node wrote comes through the launcher, the scheduler and the store to whoever may see nodes.
func TestNodesShowTheirLabels(t *testing.T) {
	a := apiservertest.NewCluster(t)
	running(t, a)
	nodes, err := a.Client(a.Operator()).Nodes(t.Context(), "")
	if err != nil || len(nodes) != 1 {
		t.Fatalf("%d nodes, %v", len(nodes), err)
	}
	if diff := cmp.Diff(map[string]string{"zone": "a"}, nodes[0].Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
}

// A workload of the node's zone runs on it; one of another zone says what it is waiting for.
func TestWorkloadsRequireLabels(t *testing.T) {
	a := apiservertest.NewCluster(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	blue := a.Client(a.Tenant(apiservertest.Blue))
	made := map[string][]api.Instance{}
	for _, zone := range []string{"a", "b"} {
		wanted := map[string]string{"zone": zone}
		recipe, err := blue.CreateWorkload(ctx, api.CreateWorkload{
			Name: "in-" + zone, Kind: cluster.KindContainer, Image: "busybox", Requirements: api.Requirements{Labels: wanted},
		})
		if err != nil || !maps.Equal(recipe.Requirements.Labels, wanted) {
			t.Fatalf("%+v, %v", recipe, err)
		}
		if made[zone], err = blue.CreateInstances(ctx, api.CreateInstances{Workload: recipe.Name, Name: recipe.Name}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := blue.Wait(ctx, made["a"], client.Active, nil); err != nil {
		t.Error(err)
	}
	for {
		waiting, err := blue.Instance(ctx, "in-b")
		if err != nil || waiting.State != cluster.Pending {
			t.Fatalf("%+v, %v", waiting, err)
		}
		if strings.Contains(waiting.Reason, "1 without the wanted labels") {
			return
		}
	}
}

// The only node takes one instance of a group; the other says why it waits, and is placed when the first is gone.
func TestGroupsDoNotShareANode(t *testing.T) {
	a := apiservertest.NewCluster(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	blue := a.Client(a.Tenant(apiservertest.Blue))
	made := map[string][]api.Instance{}
	for _, name := range []string{"first", "second"} {
		recipe, err := blue.CreateWorkload(ctx, api.CreateWorkload{
			Name: name, Kind: cluster.KindContainer, Image: "busybox", Requirements: api.Requirements{Spread: "db"},
		})
		if err != nil || recipe.Requirements.Spread != "db" {
			t.Fatalf("%+v, %v", recipe, err)
		}
		if made[name], err = blue.CreateInstances(ctx, api.CreateInstances{Workload: name, Name: name}); err != nil {
			t.Fatal(err)
		}
		if name == "first" {
			if _, err := blue.Wait(ctx, made[name], client.Active, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	for waiting := made["second"][0]; !strings.Contains(waiting.Reason, "1 with another instance of its group"); {
		var err error
		if waiting, err = blue.Instance(ctx, "second"); err != nil || waiting.State != cluster.Pending {
			t.Fatalf("%+v, %v", waiting, err)
		}
	}
	if _, err := blue.DeleteInstance(ctx, "first"); err != nil {
		t.Fatal(err)
	}
	if _, err := blue.Wait(ctx, made["second"], client.Active, nil); err != nil {
		t.Error(err)
	}
}
