package simulation

import (
	"strconv"
	"time"
)

// Report is what was measured. Times begin with the first call of the API and end when the last instance is settled.
type Report struct {
	Active  int `json:"active"`
	Failed  int `json:"failed"`  // for good
	Refused int `json:"refused"` // by their node, and placed elsewhere; each time counts

	Connected Seconds `json:"connected_seconds"` // until all nodes were ready, before the times below
	Answered  Seconds `json:"answered_seconds"`  // until the API had answered all tenants
	Total     Seconds `json:"total_seconds"`     // until the last instance was active
	Placed    Phase   `json:"placed"`            // from created until its node was recorded
	Started   Phase   `json:"started"`           // from there until its node began to start it: its network was ready
	Activated Phase   `json:"activated"`         // from there until it was recorded as active
	Whole     Phase   `json:"whole"`             // from created until it was recorded as active

	Storm *Storm `json:"storm,omitempty"` // of Config.Disconnect
	Cost  Cost   `json:"cost"`
}

// Phase is how long something took the instances, and when the last of them was through.
type Phase struct {
	P50  Seconds `json:"p50_seconds"`
	P90  Seconds `json:"p90_seconds"`
	P99  Seconds `json:"p99_seconds"`
	Last Seconds `json:"last_seconds"` // since the first call
}

// String is for a line of a table.
func (p Phase) String() string {
	return "p50 " + p.P50.String() + ", p90 " + p.P90.String() + ", p99 " + p.P99.String() + "; the last one at " + p.Last.String()
}

// Cost is what the whole process spent: the controller, the scheduler, and all nodes.
type Cost struct {
	CPU        Seconds           `json:"cpu_seconds"` // of all cores
	Commits    uint64            `json:"commits"`     // of the controller's reconciler
	CommitBusy Seconds           `json:"commit_busy_seconds"`
	Retries    uint64            `json:"retries"`   // commands sent again
	Repeated   map[string]uint64 `json:"repeated"`  // of them, by operand
	Questions  uint64            `json:"questions"` // nodes that were asked what became of starts
	Sent       map[string]uint64 `json:"sent"`      // frames by the controller, by operand
	Received   map[string]uint64 `json:"received"`  // frames
	NodesMiB   int               `json:"nodes_mib"`
	HeapMiB    int               `json:"heap_mib"` // live at the end, the nodes' part before the first call included
	PeakMiB    int               `json:"peak_mib"` // resident, of the process, ever
	Goroutines int               `json:"goroutines"`
}

// Seconds is a length of time.
type Seconds float64

func seconds(d time.Duration) Seconds { return Seconds(d.Seconds()) }

// String has three digits behind the point.
func (s Seconds) String() string { return strconv.FormatFloat(float64(s), 'f', 3, 64) + " s" }
