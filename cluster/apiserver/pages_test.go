package apiserver_test

import (
	"context"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/apiserver/apiservertest"
)

type identified struct {
	ID string `json:"id"`
}

// pages follows a list by pages of one item and returns the ids.
func pages(t *testing.T, get func(method, path, body string) (int, string), path string) (ids []string) {
	t.Helper()
	for after := ""; ; {
		status, text := get("GET", path+"?limit=1&after="+after, "")
		var page api.List[identified]
		if err := json.Unmarshal([]byte(text), &page); err != nil || status != 200 || len(page.Items) > 1 {
			t.Fatalf("%d, %v: %s", status, err, text)
		}
		for _, item := range page.Items {
			ids = append(ids, item.ID)
		}
		if after = page.Next; after == "" {
			return ids
		}
	}
}

func TestNodesAndCNCIsComeInPages(t *testing.T) {
	a := apiservertest.NewCluster(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	operator := a.Client(a.Operator())
	want := map[string][]string{}
	for _, tenant := range []string{apiservertest.Blue, apiservertest.Green} {
		own := a.Client(a.Tenant(tenant))
		_, err := own.CreateWorkload(ctx, sleeper("s"))
		if err == nil {
			_, err = own.CreateInstances(ctx, api.CreateInstances{Workload: "s"})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for len(want["/v1/cncis"]) < 2 || len(want["/v1/nodes"]) < 1 {
		cncis, err := operator.CNCIs(ctx)
		nodes, err2 := operator.Nodes(ctx, "")
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		clear(want)
		for _, cnci := range cncis {
			want["/v1/cncis"] = append(want["/v1/cncis"], cnci.ID)
		}
		for _, node := range nodes {
			want["/v1/nodes"] = append(want["/v1/nodes"], node.ID)
		}
	}
	for path, all := range want {
		if got := pages(t, rawCaller(t, a, a.Operator()), path); !slices.Equal(got, all) {
			t.Errorf("%s by pages: %v, want %v", path, got, all)
		}
	}
}
