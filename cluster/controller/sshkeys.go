package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/store"
)

// CreateSSHKey keeps a public key for a tenant. Errors: ErrInvalid (no public key), ErrExists (the name, or the key under another one),
// ErrOverQuota.
func (c *Controller) CreateSSHKey(ctx context.Context, tenant, name, content string) (cluster.SSHKey, error) {
	key := cluster.SSHKey{ID: uuid.NewString(), Tenant: tenant, Name: name, Created: time.Now().UTC()}
	var problems cluster.Problems
	if tenant == Operator {
		problems.Add("tenant", "SSH keys belong to a tenant; act as one")
	}
	if !cluster.ValidName(name) {
		problems.Add("name", "%q must be 1 to 63 lower-case letters, digits and hyphens, with no hyphen at either end", name)
	}
	if err := problems.Err(); err != nil {
		return cluster.SSHKey{}, err
	}
	var err error
	if key.Key, key.Fingerprint, err = cluster.ParseSSHKey(content); err != nil {
		return cluster.SSHKey{}, err
	}
	_, err = c.update(ctx, func(tx store.Tx) error {
		usage, err := usages.Get(tx, tenant)
		if err != nil {
			return noSuch("tenant", tenant)
		}
		if err := fitsBeside(slices.Collect(sshKeys.By(tx, byTenant, tenant)), key); err != nil {
			return err
		}
		return errors.Join(usages.Put(tx, usage), sshKeys.Create(tx, key)) // that row puts the tenant's transactions one after the other
	})
	if err != nil {
		return cluster.SSHKey{}, err
	}
	return key, nil
}

func fitsBeside(own []cluster.SSHKey, key cluster.SSHKey) error {
	for _, other := range own {
		switch {
		case other.Name == key.Name:
			return fmt.Errorf("SSH key %q: %w: choose another name, or delete that one first", key.Name, cluster.ErrExists)
		case other.Fingerprint == key.Fingerprint:
			return fmt.Errorf("SSH key %q: %w: the same key is kept as %s; use that", key.Name, cluster.ErrExists, other.Name)
		}
	}
	if len(own) >= cluster.MaxTenantSSHKeys {
		return fmt.Errorf("%w: a tenant keeps at most %d SSH keys; delete one that nobody uses any more", cluster.ErrOverQuota, cluster.MaxTenantSSHKeys)
	}
	return nil
}

// SSHKeys lists the keys of a scope.
func (c *Controller) SSHKeys(ctx context.Context, scope string, p Page) (list []cluster.SSHKey, next string, err error) {
	err = c.view(ctx, func(r store.Reader) error {
		all := sshKeys.All(r)
		if scope != Operator {
			all = sshKeys.By(r, byTenant, scope)
		}
		list = slices.SortedFunc(all, func(a, b cluster.SSHKey) int { return compareText(a.ID, b.ID) })
		list, next = Paged(list, p, func(k cluster.SSHKey) string { return k.ID })
		return nil
	})
	return list, next, err
}

// SSHKey looks a key up by id or name.
func (c *Controller) SSHKey(ctx context.Context, scope, ref string) (key cluster.SSHKey, err error) {
	err = c.view(ctx, func(r store.Reader) error {
		key, err = findSSHKey(r, scope, ref)
		return err
	})
	return key, err
}

// DeleteSSHKey forgets a key. Instances that were created with it keep it.
func (c *Controller) DeleteSSHKey(ctx context.Context, scope, ref string) error {
	_, err := c.update(ctx, func(tx store.Tx) error {
		key, err := findSSHKey(tx, scope, ref)
		if err != nil {
			return err
		}
		return sshKeys.Delete(tx, key.ID)
	})
	return err
}

func findSSHKey(r store.Reader, scope, ref string) (cluster.SSHKey, error) {
	if cluster.ValidID(ref) {
		key, err := sshKeys.Get(r, ref)
		if err != nil || scope != Operator && key.Tenant != scope {
			return cluster.SSHKey{}, noSuch("SSH key", ref)
		}
		return key, nil
	}
	var found []cluster.SSHKey
	for key := range sshKeys.By(r, byName, ref) {
		if scope == Operator || key.Tenant == scope {
			found = append(found, key)
		}
	}
	switch len(found) {
	case 0:
		return cluster.SSHKey{}, noSuch("SSH key", ref)
	case 1:
		return found[0], nil
	}
	return cluster.SSHKey{}, fmt.Errorf("SSH key %q: %w: several tenants have one of that name; give its id", ref, cluster.ErrConflict)
}

// keysFor are the lines of the keys that an instance is to have beside its workload's: some as they are, some that the tenant keeps, each once.
func keysFor(r store.Reader, tenant string, request InstanceRequest) ([]string, error) {
	keys := slices.Clone(request.SSHKeys)
	for _, ref := range request.SSHKeyNames {
		key, err := findSSHKey(r, tenant, ref)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(keys, func(line string) bool { return sameKey(line, key.Key) }) {
			keys = append(keys, key.Key)
		}
	}
	return keys, nil
}

// sameKey compares lines without their comments.
func sameKey(a, b string) bool {
	one, other := strings.Fields(a), strings.Fields(b)
	return len(one) > 1 && len(other) > 1 && one[0] == other[0] && one[1] == other[1]
}
