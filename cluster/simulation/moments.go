package simulation

import (
	"slices"
	"time"

	"github.com/ciaocloud/ciao/cluster"
)

// moments are when instances came to their states, as the store recorded it.
type moments struct {
	wanted  int
	rows    map[string]*row
	counts  map[cluster.State]int
	refused int
}

// row is one instance; of several attempts the last one counts.
type row struct {
	state                            cluster.State
	created, placed, started, active time.Time
}

func newMoments(wanted int) *moments {
	return &moments{wanted: wanted, rows: make(map[string]*row, wanted), counts: map[cluster.State]int{}}
}

// see notes an instance as it is. A state that was over before it was recorded is taken to have lasted no time.
func (m *moments) see(i cluster.Instance) {
	r := m.rows[i.ID]
	if r == nil {
		r = &row{state: i.State, created: i.Created}
		m.rows[i.ID] = r
		m.counts[i.State]++
	} else if r.state == i.State {
		return
	}
	m.counts[r.state]--
	m.counts[i.State]++
	switch i.State {
	case cluster.Pending:
		if r.state != cluster.Pending {
			m.refused++
		}
	case cluster.Scheduled:
		r.placed, r.started = i.Changed, time.Time{}
	case cluster.Starting:
		r.started = i.Changed
	case cluster.Active:
		r.active = i.Changed
		if r.started.IsZero() {
			r.started = r.active
		}
		if r.placed.IsZero() {
			r.placed = r.started
		}
	}
	r.state = i.State
}

// settled says that every instance has come as far as it comes.
func (m *moments) settled() bool {
	return m.counts[cluster.Active]+m.counts[cluster.Failed] == m.wanted
}

// report sums up those that are active.
func (m *moments) report(begun time.Time) Report {
	report := Report{Active: m.counts[cluster.Active], Failed: m.counts[cluster.Failed], Refused: m.refused}
	phase := func(from, to func(*row) time.Time) (p Phase) {
		var took []time.Duration
		for _, r := range m.rows {
			if r.state == cluster.Active {
				took = append(took, to(r).Sub(from(r)))
				p.Last = max(p.Last, seconds(to(r).Sub(begun)))
			}
		}
		slices.Sort(took)
		p.P50, p.P90, p.P99 = percentile(took, 50), percentile(took, 90), percentile(took, 99)
		return p
	}
	created, placed := func(r *row) time.Time { return r.created }, func(r *row) time.Time { return r.placed }
	started, active := func(r *row) time.Time { return r.started }, func(r *row) time.Time { return r.active }
	report.Placed, report.Started = phase(created, placed), phase(placed, started)
	report.Activated, report.Whole = phase(started, active), phase(created, active)
	report.Total = report.Whole.Last
	return report
}

// percentile is the smallest of sorted lengths that p of a hundred do not exceed; zero when there are none.
func percentile(sorted []time.Duration, p int) Seconds {
	if len(sorted) == 0 {
		return 0
	}
	return seconds(sorted[(len(sorted)*p+99)/100-1])
}
