package instance

import (
	"context"

	"github.com/ciaocloud/ciao/bat"
	"github.com/ciaocloud/ciao/cluster"
)

func wait(ctx context.Context, t *bat.T) {
	tenant := t.Tenant(ctx)
	tenant.Workload(ctx, t.Sleeper("sleeper"))
	state := func(when string, want cluster.State) {
		if now := tenant.Get(ctx, "awaited"); now.State != want {
			t.Errorf("%s it is %s, expected %s", when, now.State, want)
		}
	}
	t.Ciao(ctx, tenant.ID, "create", "instance", "sleeper", "--name", "awaited", "--wait").Works(t, "create --wait")
	state("after create --wait", cluster.Active)
	t.Ciao(ctx, tenant.ID, "stop", "instance", "awaited", "--wait").Works(t, "stop --wait")
	state("after stop --wait", cluster.Stopped)
	t.Ciao(ctx, tenant.ID, "start", "instance", "awaited", "--wait").Works(t, "start --wait")
	state("after start --wait", cluster.Active)
	t.Ciao(ctx, tenant.ID, "delete", "instance", "awaited", "--wait").Works(t, "delete --wait")
	t.Ciao(ctx, tenant.ID, "show", "instance", "awaited").Refuses(t, "show after delete --wait", 3, "awaited")

	bad, _ := t.Failing("bad")
	tenant.Workload(ctx, bad)
	t.Ciao(ctx, tenant.ID, "create", "instance", "bad", "--wait").Refuses(t, "create --wait of what fails", 4, "failed")
	if t.Kind == cluster.KindVM {
		return // none can be told to overhear the power button before it is up
	}
	stubborn := t.Recipe("stubborn", "trap '' TERM; while :; do sleep 3600 & wait $!; done")
	stubborn.StopGrace = "15s"
	tenant.Workload(ctx, stubborn)
	t.Ciao(ctx, tenant.ID, "create", "instance", "stubborn", "--name", "stays", "--wait").Works(t, "create --wait")
	t.Ciao(ctx, tenant.ID, "stop", "instance", "stays", "--wait", "--timeout", "2s").Refuses(t, "stop --wait for too short a time", 9, "stopping")
}

func badInput(ctx context.Context, t *bat.T) {
	tenant := t.Tenant(ctx)
	tenant.Workload(ctx, t.Sleeper("sleeper"))
	for _, bad := range []struct {
		what string
		args []string
		code int
		says string
	}{
		{"an unknown workload", []string{"create", "instance", "no-such-one"}, 3, "no-such-one"},
		{"an unknown instance", []string{"show", "instance", "no-such-one"}, 3, "no-such-one"},
		{"stop of an unknown instance", []string{"stop", "instance", "no-such-one"}, 3, "no-such-one"},
		{"delete of an unknown instance", []string{"delete", "instance", "no-such-one"}, 3, "no-such-one"},
		{"an unknown tenant", []string{"list", "instances", "--tenant", "no-such-one"}, 3, "no-such-one"},
		{"no instances", []string{"create", "instance", "sleeper", "--instances", "0"}, 2, "at least 1"},
		{"too many instances", []string{"create", "instance", "sleeper", "--instances", "100000"}, 2, "count"},
		{"a name that is none", []string{"create", "instance", "sleeper", "--name", "Not_A_Name"}, 2, "name"},
		{"a label that is none", []string{"create", "instance", "sleeper", "--label", "=x"}, 2, "KEY=VALUE"},
		{"an unknown state", []string{"list", "instances", "--state", "sleepy"}, 2, "state"},
		{"an unknown command", []string{"craete", "instance", "sleeper"}, 2, "create"},
		{"an unknown flag", []string{"list", "instances", "--colour"}, 2, "--colour"},
		{"an unknown form", []string{"list", "instances", "-o", "xml"}, 2, "table, json, yaml"},
		{"a broken template", []string{"list", "instances", "-f", "{{"}, 2, "template"},
		{"nothing to delete", []string{"delete", "instance"}, 2, "--all"},
		{"a missing argument", []string{"create", "instance"}, 2, "WORKLOAD is missing"},
		{"a controller that is none", []string{"list", "instances", "--controller", "127.0.0.1:1"}, 8, "127.0.0.1:1"},
		{"a certificate that is none", []string{"list", "instances", "--cert", "/no/such/file"}, 2, "/no/such/file"},
	} {
		t.Ciao(ctx, tenant.ID, bad.args...).Refuses(t, bad.what, bad.code, bad.says)
	}
	if there := tenant.List(ctx); len(there) != 0 {
		t.Errorf("%d instances came of wrong use", len(there))
	}
	t.Ciao(ctx, "", "create", "instance", "sleeper").Refuses(t, "an operator without a tenant", 2, "tenant")
}
