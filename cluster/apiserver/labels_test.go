package apiserver_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ciaocloud/ciao/cluster/apiserver/apiservertest"
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
