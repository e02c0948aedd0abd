package chaostest

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/ciaocloud/ciao/cluster"
)

// Wishes are what one user was promised: each wishes for one thing at a time. A request without an answer may or may not have been done.
type Wishes struct {
	wishes map[string]*wish // by instance
	doubts []doubt
}

// wish is what may be wanted of an instance: one thing, or several while an answer is missing.
type wish struct {
	tenant string
	may    map[cluster.Desired]bool
}

// doubt is a create without an answer: all of its instances are there, or none.
type doubt struct {
	tenant, stem string
	count        int
}

// NewWishes begins with none.
func NewWishes() *Wishes { return &Wishes{wishes: map[string]*wish{}} }

// Outcome is what became of a request.
type Outcome int

// Outcomes of a request.
const (
	Done    Outcome = iota
	Refused         // it was not done, for a reason that the state of things may explain
	Unknown         // there was no answer
	Wrong           // the answer is one that no state of things explains
)

// OutcomeOf says what an error means to a user who knows that parts of the cluster fail. For Refused and Unknown it gives the class.
func OutcomeOf(err error) (Outcome, error) {
	if err == nil {
		return Done, nil
	}
	for _, class := range []error{cluster.ErrUnavailable, cluster.ErrTimeout} {
		if errors.Is(err, class) {
			return Unknown, class
		}
	}
	for _, class := range []error{cluster.ErrConflict, cluster.ErrNotFound, cluster.ErrOverQuota, cluster.ErrNoCapacity} {
		if errors.Is(err, class) {
			return Refused, class
		}
	}
	return Wrong, err
}

// Created notes the answer to a create.
func (w *Wishes) Created(tenant string, ids ...string) {
	for _, id := range ids {
		w.wishes[id] = &wish{tenant, map[cluster.Desired]bool{cluster.WantActive: true}}
	}
}

// Doubt notes a create that was not answered.
func (w *Wishes) Doubt(tenant, stem string, count int) {
	w.doubts = append(w.doubts, doubt{tenant, stem, count})
}

// Changed notes that something was wanted of an instance, and what became of that.
func (w *Wishes) Changed(id string, wanted cluster.Desired, became Outcome) {
	switch may := w.wishes[id].may; became {
	case Done:
		clear(may)
		may[wanted] = true
	case Unknown:
		may[wanted] = true
	}
}

// Instances are the ids of those that may be there, in order.
func (w *Wishes) Instances() []string { return slices.Sorted(maps.Keys(w.wishes)) }

// Tenant is whose an instance is.
func (w *Wishes) Tenant(id string) string { return w.wishes[id].tenant }

// Compare looks whether there is what should be and nothing else, by ids, and ends all doubts.
func (w *Wishes) Compare(found map[string]cluster.Instance) error {
	found = maps.Clone(found)
	var wrong []error
	for _, d := range w.doubts {
		wrong = append(wrong, w.resolve(d, found))
	}
	w.doubts = nil
	for id, wanted := range w.wishes {
		i, there := found[id]
		switch {
		case !there && !wanted.may[cluster.WantDeleted]:
			wrong = append(wrong, fmt.Errorf("instance %s is lost; it should be one of %v", id, wanted.may))
		case !there:
			delete(w.wishes, id)
		case !wanted.may[i.Desired]:
			wrong = append(wrong, fmt.Errorf("instance %s is wanted %s and should be one of %v", i.Name, i.Desired, wanted.may))
		default:
			clear(wanted.may)
			wanted.may[i.Desired] = true
		}
		delete(found, id)
	}
	for _, i := range found {
		wrong = append(wrong, fmt.Errorf("nobody wanted instance %s", i.Name))
	}
	return errors.Join(wrong...)
}

// resolve finds out what became of a create.
func (w *Wishes) resolve(d doubt, found map[string]cluster.Instance) error {
	batch := cluster.Batch{Template: cluster.Instance{Name: d.stem}, Count: d.count}
	there := 0
	for n := range d.count {
		for id, i := range found {
			if i.Tenant == d.tenant && i.Name == batch.InstanceName(n) {
				there++
				w.Created(d.tenant, id)
			}
		}
	}
	if there != 0 && there != d.count {
		return fmt.Errorf("of %s of tenant %s %d of %d are there", d.stem, d.tenant, there, d.count)
	}
	return nil
}
