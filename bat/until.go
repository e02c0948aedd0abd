package bat

import (
	"context"

	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
	"time"
)

// Until looks whenever something in the cluster changes until look is content, and ends the test when that does not happen in
// time; what is its sentence then, with what look saw last.
func (t *T) Until(ctx context.Context, limit time.Duration, what string, look func(ctx context.Context) (content bool, saw string)) {
	ctx, cancel := context.WithTimeout(ctx, t.Cluster.Scale(limit))
	defer cancel()
	saw := "nothing"
	for _, err := range t.Cluster.Operator.Watch(ctx, api.ChangeInstance, api.ChangeNode, api.ChangeCNCI) {
		t.Need(err, "watch for: %s", what)
		content, now := look(ctx)
		if content {
			return
		}
		if ctx.Err() == nil {
			saw = now
		}
	}
	t.Fatalf("%s: not within %s; last seen: %s", what, t.Cluster.Scale(limit), saw)
}

// Event waits until the tenant's events have one with the reason and returns it.
func (n *Tenant) Event(ctx context.Context, reason string) api.Event {
	var found api.Event
	n.t.Until(ctx, SettleTime, "an event "+reason, func(ctx context.Context) (bool, string) {
		events, err := n.API.Events(ctx, client.EventFilter{})
		if err != nil {
			return false, err.Error()
		}
		saw := ""
		for _, event := range events {
			saw += event.Reason + " "
			if event.Reason == reason {
				found = event
				return true, ""
			}
		}
		return false, saw
	})
	return found
}
