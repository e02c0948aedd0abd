package cli

import (
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster/api"
)

func TestWayOfACommand(t *testing.T) {
	at := func(us int) time.Time { return time.Unix(1000, 0).Add(time.Duration(us) * time.Microsecond) }
	trace := api.Trace{Hops: []api.TraceHop{
		{Name: "controller", Received: at(0), Sent: at(12)}, {Name: "scheduler", Received: at(97), Sent: at(127)}, {Name: "node-1", Received: at(1217)},
	}}
	if got, want := way(trace), "controller 12µs → 85µs → scheduler 30µs → 1.09ms → node-1"; got != want {
		t.Errorf("way is %q, want %q", got, want)
	}
}
