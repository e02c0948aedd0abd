package image

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/ciaocloud/ciao/bat"
	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
)

func visibility(ctx context.Context, t *bat.T) {
	blue, green, path := t.Tenant(ctx), t.Tenant(ctx), file(t, "disk.raw", random(1))
	names := map[cluster.Visibility]string{cluster.Private: t.Name("image"), cluster.Public: t.Name("image"), cluster.Internal: t.Name("image")}
	for seen, name := range names {
		tenant := ""
		if seen == cluster.Private {
			tenant = blue.ID
		} else {
			t.Cleanup(func(ctx context.Context) {
				if err := t.Cluster.Operator.DeleteImage(ctx, name); err != nil && !errors.Is(err, cluster.ErrNotFound) {
					t.Errorf("delete image %s: %v", name, err)
				}
			})
		}
		var made api.Image
		t.Ciao(ctx, tenant, "create", "image", name, "--file", path, "--visibility", string(seen), "-o", "json").JSON(t, "create image", &made)
		if made.Visibility != seen || made.Tenant != tenant {
			t.Errorf("the %s image is %+v", seen, made)
		}
	}
	sees := func(who string, images []api.Image, wanted ...cluster.Visibility) {
		for seen, name := range names {
			there := slices.ContainsFunc(images, func(i api.Image) bool { return i.Name == name })
			if there != slices.Contains(wanted, seen) {
				t.Errorf("%s sees the %s image: %t", who, seen, there)
			}
		}
	}
	all, err := t.Cluster.Operator.Images(ctx)
	t.Need(err, "list images")
	sees("the operator", all, cluster.Private, cluster.Public, cluster.Internal)
	all, err = blue.API.Images(ctx)
	t.Need(err, "list images")
	sees("the owner", all, cluster.Private, cluster.Public)
	all, err = green.API.Images(ctx)
	t.Need(err, "list images")
	sees("the other tenant", all, cluster.Public)
	foreign(ctx, t, green, names)
	for _, seen := range []cluster.Visibility{cluster.Public, cluster.Internal} {
		t.Ciao(ctx, "", "delete", "image", names[seen]).Works(t, "delete image")
	}
}

// foreign has a tenant try what it may not do with images of others.
func foreign(ctx context.Context, t *bat.T, tenant *bat.Tenant, names map[cluster.Visibility]string) {
	for seen, expected := range map[cluster.Visibility]error{cluster.Private: cluster.ErrNotFound, cluster.Public: cluster.ErrPermission, cluster.Internal: cluster.ErrNotFound} {
		if err := tenant.API.DeleteImage(ctx, names[seen]); !errors.Is(err, expected) {
			t.Errorf("a tenant deletes a %s image of another: %v, expected: %v", seen, err, expected)
		}
		_, err := tenant.API.CreateVolume(ctx, api.CreateVolume{Name: "of-" + string(seen), Image: names[seen]})
		if seen == cluster.Public && err != nil || seen != cluster.Public && !errors.Is(err, cluster.ErrNotFound) {
			t.Errorf("a tenant makes a volume of a %s image of another: %v", seen, err)
		}
	}
	tenant.DeleteVolumes(ctx, "of-public")
	publishing(ctx, t)
}

// publishing has a user ask for a public image; the operator may make one for any tenant, so that one is not asked.
func publishing(ctx context.Context, t *bat.T) {
	if len(t.Cluster.Users) == 0 {
		t.Logf("no user's certificate is known: whether users may publish images is not judged")
		return
	}
	user := t.Cluster.Users[0]
	acting, err := client.New(client.Config{Controller: t.Cluster.Controller, CA: t.Cluster.CA, Certificate: user.Certificate, Tenant: user.Tenant})
	t.Need(err, "act as a user")
	defer acting.Close()
	name := t.Name("published")
	if made, err := acting.CreateImage(ctx, api.CreateImage{Name: name, Bytes: 512, Visibility: cluster.Public}); !errors.Is(err, cluster.ErrPermission) {
		t.Errorf("a user makes a public image: %v, expected: %v", err, cluster.ErrPermission)
		if err == nil {
			t.Need(t.Cluster.Operator.DeleteImage(ctx, made.ID), "delete the image")
		}
	}
}

func inUse(ctx context.Context, t *bat.T) {
	tenant := t.Tenant(ctx)
	tenant.Image(ctx, api.CreateImage{Name: "root"}, random(1))
	recipe := t.Cluster.Sleeper("user")
	recipe.Image, recipe.Pull = "root", ""
	tenant.Workload(ctx, recipe)
	t.Ciao(ctx, tenant.ID, "delete", "image", "root").Refuses(t, "delete of what a workload names", 4, "user")
	t.Need(tenant.API.DeleteWorkload(ctx, "user"), "delete the workload")
	tenant.Volume(ctx, api.CreateVolume{Name: "future", Image: "root"})
	t.Ciao(ctx, tenant.ID, "delete", "image", "root").Refuses(t, "delete of what a volume is to begin as", 4, "future")
	tenant.DeleteVolumes(ctx, "future")
	t.Ciao(ctx, tenant.ID, "delete", "image", "root").Works(t, "delete image")
}

func nodes(ctx context.Context, t *bat.T) {
	all, err := t.Cluster.Operator.Nodes(ctx, string(cluster.Compute))
	t.Need(err, "list nodes")
	all = slices.DeleteFunc(all, func(n api.Node) bool {
		return n.State != cluster.NodeReady || !slices.Contains(n.Kinds, cluster.KindContainer)
	})
	tenant := t.Tenant(ctx)
	image := tenant.Image(ctx, api.CreateImage{Name: "program", Format: cluster.FormatTar}, program(t))
	var created []api.Instance
	for k, node := range all[:min(2, len(all))] {
		recipe := t.Cluster.Container(fmt.Sprint("on-", k), "")
		recipe.Image, recipe.Pull, recipe.Command = "program", "", []string{"/bat", "--list"}
		recipe.Requirements.Node, recipe.Requirements.MemoryMiB = node.ID, 64
		tenant.Workload(ctx, recipe)
		created = append(created, tenant.Create(ctx, api.CreateInstances{Workload: recipe.Name})...)
	}
	for _, i := range tenant.Await(ctx, created, bat.LaunchTime, bat.In(cluster.Exited, cluster.Failed)) {
		if i.ExitCode == nil || *i.ExitCode != 0 {
			t.Errorf("from image %s of %d bytes %s on node %s became %s: %s", image.Name, image.Bytes, i.Name, i.Node, i.State, i.Reason)
		}
	}
	t.Ciao(ctx, tenant.ID, "delete", "image", "program").Refuses(t, "delete of what instances start from", 4, "starts from it")
	tenant.Delete(ctx, created...)
}
