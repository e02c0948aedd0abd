package instance

import (
	"time"

	"github.com/ciaocloud/ciao/ccloudvm"
)

// phases times the parts of a creation and reports them.
type phases struct {
	report Report
	list   []ccloudvm.Phase
	since  time.Time
}

func (p *phases) begin(name string) { p.pass(Event{Kind: PhaseBegins, Text: name, Time: time.Now()}) }

// pass reports an event and lets it end the phase under way, if it begins another one.
func (p *phases) pass(e Event) {
	if e.Kind == PhaseBegins {
		p.endAt(e.Time)
		p.list = append(p.list, ccloudvm.Phase{Name: e.Text})
		p.since = e.Time
	}
	if p.report != nil {
		p.report(e)
	}
}

func (p *phases) say(kind EventKind, format string, args ...any) { p.report.say(kind, format, args...) }

func (p *phases) end() { p.endAt(time.Now()) }

func (p *phases) endAt(t time.Time) {
	if n := len(p.list); n > 0 && p.list[n-1].Duration == 0 {
		p.list[n-1].Duration = max(t.Sub(p.since), 1)
	}
}

// current is the phase under way.
func (p *phases) current() string {
	if len(p.list) == 0 {
		return "start"
	}
	return p.list[len(p.list)-1].Name
}
