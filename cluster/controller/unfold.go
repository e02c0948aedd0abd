package controller

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/store"
)

// Bounds of one step of unfolding, within the store's limits of a transaction.
const (
	unfoldInstances = store.MaxOperations - 8
	unfoldBytes     = store.MaxTransactionBytes * 3 / 4
)

// unfold stores the next instances of a batch, as many as one transaction holds, and says whether there are more. Whoever gets
// there first does it: the batch's row is read and written.
func (c *Controller) unfold(ctx context.Context, id string) (more bool, err error) {
	_, err = c.update(ctx, func(tx store.Tx) error {
		more = false
		batch, err := batches.Get(tx, id)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		end := min(batch.Count, batch.Unfolded+unfoldStep(batch))
		for instance := range batch.Instances(batch.Unfolded) {
			if batch.Unfolded == end {
				break
			}
			if err := errors.Join(instances.Create(tx, instance), createVolumes(tx, batch, batch.Unfolded)); err != nil {
				return err
			}
			batch.Unfolded++
		}
		if batch.Unfolded == batch.Count {
			return batches.Delete(tx, id)
		}
		more = true
		return batches.Put(tx, batch)
	})
	return more, err
}

// unfoldStep is how many instances of a batch go into one transaction.
func unfoldStep(batch cluster.Batch) int {
	row, err := json.Marshal(batch.Template)
	if err != nil {
		return 1 // Create reports it
	}
	const more = 1024 // what an instance has beyond the template, and the cost of its operation
	rows := 1 + len(batch.Volumes)
	return max(1, min(unfoldInstances, unfoldBytes/(len(row)+more))/rows)
}

// createVolumes stores the volumes that are made with instance i.
func createVolumes(tx store.Tx, batch cluster.Batch, i int) error {
	for v := range batch.VolumesOf(i) {
		if err := volumes.Create(tx, v); err != nil {
			return err
		}
	}
	return nil
}

// unfoldFor unfolds the batch that an instance is still in.
func (c *Controller) unfoldFor(ctx context.Context, scope, ref string) error {
	for {
		var batch string
		err := c.view(ctx, func(r store.Reader) (err error) {
			_, batch, err = findInstance(r, scope, ref)
			return err
		})
		if err != nil || batch == "" {
			return err
		}
		if _, err := c.unfold(ctx, batch); err != nil {
			return err
		}
	}
}

// unfoldAll unfolds all batches of a scope.
func (c *Controller) unfoldAll(ctx context.Context, scope string) error {
	var folded []string
	err := c.view(ctx, func(r store.Reader) error {
		for batch := range batches.All(r) {
			if scope == Operator || scope == batch.Template.Tenant {
				folded = append(folded, batch.ID)
			}
		}
		return nil
	})
	for _, id := range slices.Backward(folded) {
		for more := err == nil; more; {
			more, err = c.unfold(ctx, id)
		}
	}
	return err
}
