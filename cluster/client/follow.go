package client

import (
	"context"
	"iter"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
)

// FollowEvents yields what has happened and then what happens, each event once, until ctx ends or the loop is left. A controller that
// is away for a while is waited for, and what happened meanwhile comes late. An error that waiting does not mend is yielded last.
func (c *Client) FollowEvents(ctx context.Context, filter EventFilter) iter.Seq2[api.Event, error] {
	return func(yield func(api.Event, error) bool) {
		if filter.Instance != "" && !cluster.ValidID(filter.Instance) {
			instance, err := c.Instance(ctx, filter.Instance)
			if err != nil {
				yield(api.Event{}, err)
				return
			}
			filter.Instance = instance.ID
		}
		f := following{client: c, filter: filter, seen: make(map[string]bool)}
		for change, err := range c.Watch(ctx, api.ChangeEvent) {
			var news []api.Event
			switch {
			case err != nil:
			case change.Type == api.ChangeResync:
				news, err = f.list(ctx)
			case change.Event != nil:
				news = f.see(*change.Event)
			}
			for _, event := range news {
				if !yield(event, nil) {
					return
				}
			}
			if err != nil && !(passing(err) && ctx.Err() == nil) {
				yield(api.Event{}, err)
				return
			}
		}
	}
}

// following remembers what has been yielded of the events that there still are.
type following struct {
	client *Client
	filter EventFilter
	seen   map[string]bool
}

// list returns the events that were missed.
func (f *following) list(ctx context.Context) ([]api.Event, error) {
	ctx, cancel := context.WithTimeout(ctx, defaultTimeout)
	defer cancel()
	events, err := f.client.Events(ctx, f.filter)
	if err != nil {
		return nil, err
	}
	var news []api.Event
	seen := make(map[string]bool, len(events))
	for _, event := range events {
		if !f.seen[event.ID] {
			news = append(news, event)
		}
		seen[event.ID] = true
	}
	f.seen = seen
	return news, nil
}

func (f *following) see(event api.Event) []api.Event {
	if f.seen[event.ID] || f.filter.Instance != "" && event.Instance != f.filter.Instance || f.filter.Node != "" && event.Node != f.filter.Node {
		return nil
	}
	f.seen[event.ID] = true
	return []api.Event{event}
}
