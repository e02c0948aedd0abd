package controller

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/store"
)

const (
	publicKey    = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIM1b9APNZdHfq+0wN+Qm9lnqYSbPpK7h13Iheh5Qq4O5"
	anotherKey   = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGs63lNfDPg5EO7spXKR9ihqPeoZpYif/liZggQ+YbfE"
	workloadsKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMRvqJeQ9YZQ5EaCOtA1r/6Rup9qSv6QPMcqgSeVpikR"
)

// TestKeptKeysReachTheInstance: beside the workload's own, each once; and the instance keeps them when they are forgotten.
func TestKeptKeysReachTheInstance(t *testing.T) {
	inWorld(t, func(w *world) {
		other := w.addTenant("blue")
		w.write(func(tx store.Tx) error {
			root := activeImage(w.tenant.ID)
			return errors.Join(claims.Put(tx, claim{imageClaim(root.Tenant, root.Name), root.ID}), images.Put(tx, root))
		})
		_, err := w.c.CreateWorkload(w.ctx, w.tenant.ID, WorkloadRequest{Name: "machine", Spec: cluster.WorkloadSpec{
			Kind: cluster.KindVM, Image: "root", SSHKeys: []string{workloadsKey},
		}.WithDefaults()})
		if err != nil {
			t.Fatal(err)
		}
		kept, err := w.c.CreateSSHKey(w.ctx, w.tenant.ID, "laptop", publicKey+" me@home\n")
		if err != nil {
			t.Fatal(err)
		}
		create := func(tenant string, request InstanceRequest) ([]cluster.Instance, error) {
			request.Workload = "machine"
			return w.c.CreateInstances(w.ctx, tenant, request)
		}
		made, err := create(w.tenant.ID, InstanceRequest{SSHKeys: []string{anotherKey}, SSHKeyNames: []string{"laptop", kept.ID}})
		if err != nil {
			t.Fatal(err)
		}
		if want := []string{workloadsKey, anotherKey, publicKey + " me@home"}; !slices.Equal(made[0].Spec.SSHKeys, want) {
			t.Errorf("the instance has %q", made[0].Spec.SSHKeys)
		}
		_, err = create(w.tenant.ID, InstanceRequest{SSHKeyNames: []string{"lapdog"}})
		w.refused("an unknown key", err, cluster.ErrNotFound, "lapdog")
		_, err = w.c.CreateInstances(w.ctx, w.tenant.ID, InstanceRequest{Workload: "web", SSHKeyNames: []string{"laptop"}})
		w.refused("a container with a key", err, cluster.ErrInvalid, "for virtual machines")

		_, err = w.c.SSHKey(w.ctx, other.ID, kept.ID)
		w.refused("another tenant's", err, cluster.ErrNotFound, kept.ID)
		w.refused("delete another tenant's", w.c.DeleteSSHKey(w.ctx, other.ID, "laptop"), cluster.ErrNotFound, "laptop")
		if list, _, err := w.c.SSHKeys(w.ctx, other.ID, Page{}); err != nil || len(list) != 0 {
			t.Errorf("another tenant lists %+v, %v", list, err)
		}
		if err := w.c.DeleteSSHKey(w.ctx, w.tenant.ID, "laptop"); err != nil {
			t.Fatal(err)
		}
		i, err := w.c.Instance(w.ctx, w.tenant.ID, made[0].ID)
		if err != nil || len(i.Spec.SSHKeys) != 3 {
			t.Errorf("after its key was forgotten, the instance has %q, %v", i.Spec.SSHKeys, err)
		}
	})
}

// write changes the store itself.
func (w *world) write(change func(store.Tx) error) {
	w.t.Helper()
	if _, err := w.db.Update(w.ctx, change); err != nil {
		w.t.Fatal(err)
	}
}

func TestKeysThatAreRefused(t *testing.T) {
	inWorld(t, func(w *world) {
		create := func(tenant, name, key string) error {
			_, err := w.c.CreateSSHKey(w.ctx, tenant, name, key)
			return err
		}
		if err := create(w.tenant.ID, "one", publicKey); err != nil {
			t.Fatal(err)
		}
		w.refused("a name that is taken", create(w.tenant.ID, "one", anotherKey), cluster.ErrExists, "another name")
		w.refused("the same key again", create(w.tenant.ID, "two", publicKey+" elsewhere"), cluster.ErrExists, "kept as one")
		w.refused("a private key", create(w.tenant.ID, "two", "-----BEGIN OPENSSH PRIVATE KEY-----"), cluster.ErrInvalid, "private key")
		w.refused("no name", create(w.tenant.ID, "Two", anotherKey), cluster.ErrInvalid, "name")
		w.refused("nobody's", create(Operator, "two", anotherKey), cluster.ErrInvalid, "tenant")
		w.write(func(tx store.Tx) error {
			for i := range cluster.MaxTenantSSHKeys - 1 {
				name := fmt.Sprintf("key-%d", i)
				if err := sshKeys.Put(tx, cluster.SSHKey{ID: name, Tenant: w.tenant.ID, Name: name, Fingerprint: name}); err != nil {
					return err
				}
			}
			return nil
		})
		w.refused("one too many", create(w.tenant.ID, "two", anotherKey), cluster.ErrOverQuota, "at most 50")
		other := w.addTenant("blue")
		if err := create(other.ID, "one", publicKey); err != nil {
			t.Errorf("another tenant's own of the same name: %v", err)
		}
	})
}

// TestKeysGoWithTheirTenant: nothing of a tenant is left.
func TestKeysGoWithTheirTenant(t *testing.T) {
	inWorld(t, func(w *world) {
		other := w.addTenant("blue")
		if _, err := w.c.CreateSSHKey(w.ctx, other.ID, "one", publicKey); err != nil {
			t.Fatal(err)
		}
		if err := w.c.DeleteTenant(w.ctx, other.ID); err != nil {
			t.Fatal(err)
		}
		if list, _, err := w.c.SSHKeys(w.ctx, Operator, Page{}); err != nil || len(list) != 0 {
			t.Errorf("%+v, %v", list, err)
		}
	})
}
