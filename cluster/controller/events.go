package controller

import (
	"context"
	"encoding/binary"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/store"
)

// DefaultMaxEvents is how many events are kept when Config does not say.
const DefaultMaxEvents = 10_000

// newEvent makes an event of this moment, for putEvent.
func newEvent(severity cluster.Severity, reason, message string) cluster.Event {
	return cluster.Event{
		ID: uuid.Must(uuid.NewV7()).String(), Time: time.Now().UTC(), Severity: severity, Reason: reason, Message: message,
	}
}

// putEvent keeps an event after all that are there. Events are listed, paged and dropped in order of their ids, which begin with the time; a
// clock that was set back, or that of another controller, must not put what happened now before what happened then.
func putEvent(tx store.Tx, event cluster.Event) error {
	if last, ok := events.Last(tx); ok && event.ID <= last.ID {
		event.ID = following(last.ID)
	}
	return events.Put(tx, event)
}

// following is an id of version 7 (RFC 9562) with the next time after that of another one, whose 60 bits count 1/4096 of a millisecond.
func following(id string) string {
	last, err := uuid.Parse(id)
	next := uuid.New()
	if err != nil {
		return next.String() // it is none of ours
	}
	const low = 1<<12 - 1
	first := binary.BigEndian.Uint64(last[:8])
	count := (first>>16<<12 | first&low) + 1
	binary.BigEndian.PutUint64(next[:8], count>>12<<16|7<<12|count&low)
	return next.String()
}

// instanceEvent makes an event about an instance.
func instanceEvent(i cluster.Instance, severity cluster.Severity, reason, message string) cluster.Event {
	event := newEvent(severity, reason, message)
	event.Instance, event.Tenant, event.Node = i.ID, i.Tenant, i.Node
	return event
}

// Events lists the events of a scope, oldest first.
func (c *Controller) Events(ctx context.Context, scope string, filter EventFilter) (list []cluster.Event, next string, err error) {
	err = c.view(ctx, func(r store.Reader) error {
		all := events.All(r)
		if scope != Operator {
			all = events.By(r, byTenant, scope)
		}
		for event := range all {
			if filter.wants(event) {
				list = append(list, event)
			}
		}
		list, next = Paged(list, filter.Page, func(e cluster.Event) string { return e.ID })
		return nil
	})
	return list, next, err
}

func (f EventFilter) wants(e cluster.Event) bool {
	return (f.Instance == "" || f.Instance == e.Instance) && (f.Node == "" || f.Node == e.Node) && !e.Time.Before(f.Since)
}

// eventsPerTransaction is how many events are removed at a time.
const eventsPerTransaction = 120

// ClearEvents removes all events, and says how many they were.
func (c *Controller) ClearEvents(ctx context.Context) (count int, err error) {
	for {
		n, err := c.dropEvents(ctx, 0)
		count += n
		if err != nil || n == 0 {
			return count, err
		}
	}
}

// dropEvents removes the oldest events, a transaction full of them, down to keep.
func (c *Controller) dropEvents(ctx context.Context, keep int) (count int, err error) {
	_, err = c.update(ctx, func(tx store.Tx) error {
		var oldest []string
		excess := min(events.Len(tx)-keep, eventsPerTransaction)
		for event := range events.All(tx) {
			if len(oldest) >= excess {
				break
			}
			oldest = append(oldest, event.ID)
		}
		count = len(oldest)
		for id := range slices.Values(oldest) {
			if err := events.Delete(tx, id); err != nil {
				return err
			}
		}
		return nil
	})
	return count, err
}

// refusalPeriod keeps a tenant that insists from filling the events with its refusals.
const refusalPeriod = 10 * time.Second

// noteRefusal records that a quota stood against a request. The request has been answered by its error: a failure here is logged.
func (c *Controller) noteRefusal(ctx context.Context, tenant string, refusal error) {
	c.mu.Lock()
	now := time.Now()
	silent := now.Sub(c.refused[tenant]) < refusalPeriod
	if !silent {
		c.refused[tenant] = now
	}
	c.mu.Unlock()
	if silent {
		return
	}
	event := newEvent(cluster.Warning, "QuotaRefused", clip("A request for instances was refused: "+refusal.Error()))
	event.Tenant = tenant
	if _, err := c.update(ctx, func(tx store.Tx) error { return putEvent(tx, event) }); err != nil {
		c.logger.Warn("cannot record an event", slog.String("reason", event.Reason), slog.Any("error", err))
	}
}
