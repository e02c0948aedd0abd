package simulation

import (
	"strconv"
	"time"

	"github.com/ciaocloud/ciao/cluster"
)

// Report is what was measured.
type Report struct {
	Active int     `json:"active"`
	Failed int     `json:"failed"` // for good
	Total  Seconds `json:"total_seconds"`
}

// Seconds is a length of time.
type Seconds float64

// String has three digits behind the point.
func (s Seconds) String() string { return strconv.FormatFloat(float64(s), 'f', 3, 64) + " s" }

// moments are when instances came to their states, by what the store recorded.
type moments struct {
	wanted int
	rows   map[string]*row
	counts map[cluster.State]int
}

type row struct {
	state  cluster.State
	active time.Time
}

func newMoments(wanted int) *moments {
	return &moments{wanted: wanted, rows: make(map[string]*row, wanted), counts: map[cluster.State]int{}}
}

// see notes an instance as it is.
func (m *moments) see(i cluster.Instance) {
	r := m.rows[i.ID]
	if r == nil {
		r = &row{}
		m.rows[i.ID] = r
	} else {
		m.counts[r.state]--
	}
	r.state = i.State
	m.counts[i.State]++
	if i.State == cluster.Active {
		r.active = i.Changed
	}
}

// settled says that every instance has come as far as it comes.
func (m *moments) settled() bool {
	return m.counts[cluster.Active]+m.counts[cluster.Failed] == m.wanted
}

// states counts the instances by state.
func (m *moments) states() map[cluster.State]int { return m.counts }

func (m *moments) report(begun time.Time) Report {
	last := begun
	for _, r := range m.rows {
		if r.active.After(last) {
			last = r.active
		}
	}
	return Report{Active: m.counts[cluster.Active], Failed: m.counts[cluster.Failed], Total: Seconds(last.Sub(begun).Seconds())}
}
