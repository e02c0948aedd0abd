package bat

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/ciaocloud/ciao/cluster/client"
)

// lastEvents is how many of the newest events go with a failure.
const lastEvents = 50

// examine looks at the cluster after a failure, before anything is removed. What cannot be looked at says why.
func (c *Cluster) examine(ctx context.Context, t *T) []Artefact {
	t.mu.Lock()
	tenants := append([]string(nil), t.tenants...)
	t.mu.Unlock()
	artefacts := []Artefact{{"nodes", table(c.Operator.Nodes(ctx, ""))}, {"events", c.events(ctx)}}
	for _, id := range tenants {
		acting := c.Operator.ForTenant(id)
		artefacts = append(artefacts,
			Artefact{"instances of " + id, table(acting.Instances(ctx, client.InstanceFilter{}))},
			Artefact{"CNCIs of " + id, table(acting.CNCIs(ctx))})
	}
	return append(artefacts, c.logs(ctx)...)
}

func (c *Cluster) events(ctx context.Context) string {
	events, err := c.Operator.Events(ctx, client.EventFilter{})
	if err != nil {
		return err.Error()
	}
	var text strings.Builder
	for _, event := range events[max(0, len(events)-lastEvents):] {
		fmt.Fprintf(&text, "%s %-7s %-20s %s\n", event.Time.Format("15:04:05.000"), event.Severity, event.Reason, event.Message)
	}
	return text.String()
}

// table is one line of JSON for each item.
func table[T any](items []T, err error) string {
	if err != nil {
		return err.Error()
	}
	var text strings.Builder
	for _, item := range items {
		line, err := json.Marshal(item)
		if err != nil {
			return err.Error()
		}
		fmt.Fprintf(&text, "%s\n", line)
	}
	return text.String()
}
