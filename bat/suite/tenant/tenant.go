// Package tenant judges tenants: how operators keep them, and that they cannot touch each other through the interface.
package tenant

import (
	"context"
	"errors"
	"slices"

	"github.com/ciaocloud/ciao/bat"
	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
)

// Suite lists the tests.
func Suite() bat.Suite {
	return bat.Suite{Name: "tenant", Summary: "tenants: kept by operators, closed to each other", Tests: []bat.Test{
		{
			Name:        "Life",
			Summary:     "An operator creates, lists, shows, changes and deletes a tenant.",
			Description: "Does so through the command line: subnet size and permission at creation, then another name, size and permission.",
			Expected:    "Each is read back; its name is taken for others; afterwards it is not found.",
			Run:         life,
		},
		{
			Name:        "DeleteInUse",
			Summary:     "A tenant with instances is not deleted.",
			Description: "Deletes a tenant that has an instance; deletes the instance; deletes the tenant.",
			Expected:    "Refused as a conflict with the instance untouched; accepted when it is gone.",
			Run:         deleteInUse,
		},
		{
			Name:        "CNCI",
			Summary:     "A tenant's network has a CNCI, and it is the tenant's.",
			Description: "Starts an instance and lists the CNCIs as this and as another tenant.",
			Expected:    "One active CNCI of the instance's tenant and subnet, with an address on the underlay, on a network node; the other tenant sees none.",
			Run:         cnci,
		},
		{
			Name:        "Closed",
			Summary:     "What is another tenant's is not found.",
			Description: "With a user's certificate, shows, stops, starts and deletes another tenant's instance, shows its workload, CNCI, quota and tenant, and asks to act for it.",
			Expected:    "Not found, each time; the instance runs on.",
			Run:         closed,
		},
		{
			Name:        "Operators",
			Summary:     "Operators' commands are refused to a user.",
			Description: "With a user's certificate, creates and deletes a tenant, changes a quota, creates a public workload, lists nodes and clears the events.",
			Expected:    "Not permitted, each time, with exit code 5 at the command line; nothing changed.",
			Run:         operators,
		},
	}}
}

func life(ctx context.Context, t *bat.T) {
	first, second := t.Name("life"), t.Name("life")
	t.Cleanup(func(ctx context.Context) {
		for _, name := range []string{first, second} {
			if err := t.Cluster.Operator.DeleteTenant(ctx, name); err != nil && !errors.Is(err, cluster.ErrNotFound) {
				t.Errorf("delete tenant %s: %v", name, err)
			}
		}
	})
	var made, changed api.Tenant
	t.Ciao(ctx, "", "create", "tenant", first, "--cidr-prefix-size", "20", "--create-privileged-containers", "-o", "json").JSON(t, "create tenant", &made)
	if made.ID == "" || made.Name != first || made.SubnetBits != 20 || !made.PrivilegedContainers {
		t.Errorf("the new tenant is %+v", made)
	}
	all, err := t.Cluster.Operator.Tenants(ctx)
	t.Need(err, "list tenants")
	if !slices.ContainsFunc(all, func(one api.Tenant) bool { return one == made }) {
		t.Errorf("the new tenant %+v is not listed", made)
	}
	t.Ciao(ctx, "", "create", "tenant", first).Refuses(t, "a second tenant of that name", 4, first)
	t.Ciao(ctx, "", "update", "tenant", first, "--name", second, "--cidr-prefix-size", "28", "--create-privileged-containers=false", "-o", "json").JSON(t, "update tenant", &changed)
	if shown, err := t.Cluster.Operator.Tenant(ctx, made.ID); err != nil || shown.Name != second || shown.SubnetBits != 28 || shown.PrivilegedContainers {
		t.Errorf("after the change the tenant is %+v (%v)", shown, err)
	}
	t.Ciao(ctx, "", "update", "tenant", second, "--cidr-prefix-size", "31").Refuses(t, "a subnet size out of range", 2, "subnet_bits")
	t.Ciao(ctx, "", "delete", "tenant", second).Works(t, "delete tenant")
	t.Ciao(ctx, "", "show", "tenant", made.ID).Refuses(t, "a deleted tenant", 3, made.ID)
}

func deleteInUse(ctx context.Context, t *bat.T) {
	tenant := t.Tenant(ctx)
	instance := tenant.Sleepers(ctx, "in-the-way")[0]
	if err := t.Cluster.Operator.DeleteTenant(ctx, tenant.ID); !errors.Is(err, cluster.ErrConflict) {
		t.Errorf("delete with an instance: %v, expected a conflict", err)
	}
	if now := tenant.Get(ctx, instance.ID); now.State != cluster.Active {
		t.Errorf("the instance is %s after the refused delete", now.State)
	}
	tenant.Delete(ctx, instance)
	t.Need(t.Cluster.Operator.DeleteTenant(ctx, tenant.ID), "delete the tenant without instances")
}

func cnci(ctx context.Context, t *bat.T) {
	tenant, other := t.Tenant(ctx), t.Tenant(ctx)
	instance := tenant.Sleepers(ctx, "one")[0]
	var found []api.CNCI
	t.Until(ctx, bat.SettleTime, "an active CNCI with an address on the underlay", func(ctx context.Context) (bool, string) {
		var err error
		if found, err = tenant.API.CNCIs(ctx); err != nil || len(found) != 1 {
			return false, "not one CNCI"
		}
		return found[0].State == cluster.Active && found[0].Underlay != "", string(found[0].State) + " " + found[0].Reason
	})
	one := found[0]
	if one.Tenant != tenant.ID || one.Subnet != instance.Subnet || !one.Prefix.Contains(instance.Addresses[0]) {
		t.Errorf("the CNCI %+v does not belong to tenant %s and subnet %s of address %s", one, tenant.ID, instance.Subnet, instance.Addresses[0])
	}
	if node, err := t.Cluster.Operator.Node(ctx, one.Node); err != nil || !slices.Contains(node.Roles, cluster.Network) {
		t.Errorf("the CNCI's node %q is not a network node: %+v (%v)", one.Node, node.Roles, err)
	}
	if foreign, err := other.API.CNCIs(ctx); err != nil || len(foreign) != 0 {
		t.Errorf("another tenant sees %d CNCIs (%v)", len(foreign), err)
	}
	if _, err := other.API.CNCI(ctx, one.ID); !errors.Is(err, cluster.ErrNotFound) {
		t.Errorf("another tenant asks for the CNCI: %v, expected not found", err)
	}
	if _, err := tenant.API.Instance(ctx, one.ID); !errors.Is(err, cluster.ErrNotFound) {
		t.Errorf("the CNCI as an instance of the tenant: %v, expected not found", err)
	}
}

// user is the first user's client; the test is skipped without one.
func user(t *bat.T) *client.Client {
	if len(t.Cluster.Users) == 0 {
		t.Skipf("there is no user's certificate (%s)", client.EnvClientCert)
	}
	one := t.Cluster.Users[0]
	c, err := client.New(client.Config{Controller: t.Cluster.Controller, CA: t.Cluster.CA, Certificate: one.Certificate, Tenant: one.Tenant})
	t.Need(err, "make the user's client")
	t.Cleanup(func(context.Context) { c.Close() })
	return c
}

func closed(ctx context.Context, t *bat.T) {
	c := user(t)
	if mine, err := c.Tenants(ctx); err != nil || len(mine) != 1 {
		t.Skipf("the user's certificate is for %d tenants (%v), not for one", len(mine), err)
	}
	other := t.Tenant(ctx)
	instance := other.Sleepers(ctx, "secret")[0]
	cncis, err := other.API.CNCIs(ctx)
	t.Need(err, "list CNCIs")
	attempts := map[string]error{}
	_, attempts["show the instance"] = c.Instance(ctx, instance.ID)
	_, attempts["show the instance by name"] = c.Instance(ctx, "secret")
	_, attempts["stop the instance"] = c.StopInstance(ctx, instance.ID)
	_, attempts["start the instance"] = c.StartInstance(ctx, instance.ID)
	_, attempts["delete the instance"] = c.DeleteInstance(ctx, instance.ID)
	_, attempts["show the workload"] = c.Workload(ctx, instance.WorkloadID)
	attempts["delete the workload"] = c.DeleteWorkload(ctx, instance.WorkloadID)
	_, attempts["create an instance of the workload"] = c.CreateInstances(ctx, api.CreateInstances{Workload: instance.WorkloadID})
	_, attempts["show the tenant"] = c.Tenant(ctx, other.ID)
	_, attempts["show the tenant's quota"] = c.Quota(ctx, other.ID)
	_, attempts["act for the tenant"] = c.ForTenant(other.ID).Instances(ctx, client.InstanceFilter{})
	_, attempts["delete all as the tenant"] = c.ForTenant(other.Name).DeleteInstances(ctx, client.InstanceFilter{})
	for _, one := range cncis {
		_, attempts["show the CNCI"] = c.CNCI(ctx, one.ID)
	}
	for what, err := range attempts {
		if !errors.Is(err, cluster.ErrNotFound) {
			t.Errorf("%s of another tenant: %v, expected not found", what, err)
		}
	}
	own, err := c.Instances(ctx, client.InstanceFilter{})
	t.Need(err, "list the user's own instances")
	if slices.ContainsFunc(own, func(i api.Instance) bool { return i.ID == instance.ID }) {
		t.Errorf("another tenant's instance is listed")
	}
	if now := other.Get(ctx, instance.ID); now.State != cluster.Active || now.Desired != cluster.WantActive {
		t.Errorf("the instance is %s, wanted %s, after the attempts", now.State, now.Desired)
	}
}

func operators(ctx context.Context, t *bat.T) {
	c := user(t)
	other := t.Tenant(ctx)
	name := t.Name("forbidden")
	public := t.Cluster.Sleeper(name)
	public.Visibility = cluster.Public
	attempts := map[string]error{}
	_, attempts["create a tenant"] = c.CreateTenant(ctx, api.CreateTenant{Name: name})
	attempts["delete a tenant"] = c.DeleteTenant(ctx, other.ID)
	_, attempts["change a tenant"] = c.UpdateTenant(ctx, other.ID, api.UpdateTenant{Name: &name})
	_, attempts["change a quota"] = c.UpdateQuota(ctx, other.ID, api.UpdateQuota{Limits: map[string]string{api.QuotaInstances: "1"}})
	_, attempts["create a public workload"] = c.CreateWorkload(ctx, public)
	_, attempts["list nodes"] = c.Nodes(ctx, "")
	_, attempts["clear the events"] = c.ClearEvents(ctx)
	for what, err := range attempts {
		if !errors.Is(err, cluster.ErrPermission) {
			t.Errorf("%s as a user: %v, expected not permitted", what, err)
		}
	}
	t.CiaoAs(ctx, t.Cluster.Users[0], "list", "nodes").Refuses(t, "list nodes as a user", 5, "operator")
	if now, err := t.Cluster.Operator.Tenant(ctx, other.ID); err != nil || now != other.Tenant {
		t.Errorf("the tenant changed to %+v (%v)", now, err)
	}
}
