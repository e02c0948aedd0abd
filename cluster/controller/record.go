package controller

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
)

// verdict is what a report means for an instance.
type verdict int

const (
	nothing verdict = iota // late, repeated or impossible
	changed                // the instance is now as record returned it
	removed                // no node holds it any more
	stray                  // the reporting node should not have it
)

// record applies a node's report to an instance. It is pure. leaving says that the node is being evacuated. What is not of the instance's node or generation changes nothing.
func record(i cluster.Instance, node string, report payload.InstanceReport, leaving bool, now time.Time) (cluster.Instance, verdict) {
	gone := report.State == cluster.Gone
	switch {
	case i.Node != node && gone:
		return i, nothing
	case i.Node != node: // a node that was lost and is back may have one that runs elsewhere now
		return i, stray
	case report.Generation < i.Generation && i.State == cluster.Missing && !gone: // its node is back, and this generation never reached it
		if i.Desired == cluster.WantActive {
			enter(&i, cluster.Scheduled, "", now)
		} else {
			enter(&i, cluster.Stopping, "", now)
		}
		return i, changed
	case report.Generation < i.Generation:
		return i, nothing
	}
	before := i
	i.Generation = report.Generation // a higher one: the store has lost a start, the node has not
	switch {
	case i.State == cluster.Deleting && gone:
		return i, removed
	case i.State == cluster.Deleting:
		return i, nothing
	case i.State == cluster.Pending && gone: // withdrawn from the node that refused it: a new attempt elsewhere
		release(&i)
		i.Generation++
		return i, changed
	case ended(i.State) && gone && leaving:
		release(&i)
		return i, changed
	case i.State == cluster.Pending:
		return i, nothing
	}
	state, ok := reported(i, report)
	if !ok || !i.State.May(state) {
		return before, nothing
	}
	enter(&i, state, clip(report.Reason), now)
	i.ExitCode = nil
	switch state {
	case cluster.Pending:
		if report.State == cluster.Failed && before.State != cluster.Stopping {
			i.Refusals = refusedBy(i.Refusals, node, i.Reason)
		}
	case cluster.Active:
		i.Bound = true
	case cluster.Exited, cluster.Stopped:
		i.Bound = i.Bound || report.State == cluster.Exited
		i.ExitCode = report.ExitCode
	}
	if same(before, i) {
		return before, nothing
	}
	return i, changed
}

// maxRefusals is how many nodes' words are kept with an instance.
const maxRefusals = 5

// refusedBy adds a node's word to the last ones.
func refusedBy(refusals []cluster.Refusal, node, reason string) []cluster.Refusal {
	return append(slices.Clone(refusals[max(0, len(refusals)-maxRefusals+1):]), cluster.Refusal{Node: node, Reason: reason})
}

// release takes an instance from its node, which has nothing of it any more. A CNCI gets another address elsewhere.
func release(i *cluster.Instance) {
	i.Node, i.Bound, i.Underlay = "", false, netip.Addr{}
}

// reported is the state that a report leads an instance to; false when it says nothing new.
func reported(i cluster.Instance, report payload.InstanceReport) (cluster.State, bool) {
	wanted := i.Desired == cluster.WantActive
	if wanted && i.State == cluster.Stopping { // it leaves its node
		return cluster.Pending, ended(report.State) || report.State == cluster.Gone
	}
	switch report.State {
	case cluster.Scheduled, cluster.Starting:
		return cluster.Starting, i.State != cluster.Stopping
	case cluster.Active:
		return cluster.Active, i.State != cluster.Stopping
	case cluster.Stopping:
		return cluster.Stopping, !wanted
	case cluster.Stopped:
		if wanted {
			return cluster.Exited, true
		}
		return cluster.Stopped, true
	case cluster.Exited:
		if i.State == cluster.Stopping {
			return cluster.Stopped, true
		}
		return cluster.Exited, true
	case cluster.Failed:
		switch {
		case i.State == cluster.Stopping:
			return cluster.Stopped, true
		case report.Retry && wanted && !i.Bound && i.State.May(cluster.Pending) && !ended(i.State):
			return cluster.Pending, true
		}
		return cluster.Failed, true
	case cluster.Gone:
		return absent(i)
	}
	return "", false
}

// absent is the state of an instance that its node turns out not to have.
func absent(i cluster.Instance) (cluster.State, bool) {
	switch i.State {
	case cluster.Starting, cluster.Active, cluster.Stopping, cluster.Missing:
	default:
		return "", false
	}
	switch {
	case i.Desired != cluster.WantActive:
		return cluster.Stopped, true
	case i.State == cluster.Missing: // it may never have been started: its network comes first
		return cluster.Scheduled, true
	}
	return cluster.Starting, i.State != cluster.Stopping
}

func ended(s cluster.State) bool {
	return s == cluster.Stopped || s == cluster.Exited || s == cluster.Failed
}

// same says whether two versions of an instance differ in nothing that reports change.
func same(a, b cluster.Instance) bool {
	code := func(c *int) int {
		if c == nil {
			return -1 << 31
		}
		return *c
	}
	return a.State == b.State && a.Reason == b.Reason && a.Bound == b.Bound && a.Node == b.Node &&
		a.Generation == b.Generation && code(a.ExitCode) == code(b.ExitCode)
}

// maxText bounds what other machines say before it is stored.
const maxText = 1024

// clip bounds what another machine says.
func clip(text string) string {
	text = strings.ToValidUTF8(text, "�")
	if len(text) <= maxText {
		return text
	}
	end := maxText
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}

// changeEvent is the event of an instance's new state; false when that is not worth one.
func changeEvent(before, i cluster.Instance) (cluster.Event, bool) {
	what := "Instance " + i.Name
	if i.Host() {
		what = "CNCI " + i.Name
	}
	if before.State == i.State {
		return impairedEvent(what, before, i)
	}
	switch i.State {
	case cluster.Scheduled:
		if i.Explanation == "" || before.State != cluster.Pending {
			return cluster.Event{}, false
		}
		return instanceEvent(i, cluster.Info, "Placed", fmt.Sprintf("%s was placed on node %s: %s", what, i.Node, i.Explanation)), true
	case cluster.Active:
		if before.State == cluster.Missing {
			return instanceEvent(i, cluster.Info, "Returned", what+" is active again."), true
		}
		return instanceEvent(i, cluster.Info, "Started", what+" is active."), true
	case cluster.Stopped:
		return instanceEvent(i, cluster.Info, "Stopped", what+" was stopped."), true
	case cluster.Exited:
		return exitEvent(what, i), true
	case cluster.Failed:
		return instanceEvent(i, cluster.Error, "Failed", clip(what+" failed: "+i.Reason)), true
	case cluster.Missing:
		return instanceEvent(i, cluster.Warning, "Missing", what+" is missing: "+i.Reason), true
	case cluster.Pending:
		if before.Node != "" {
			return leaveEvent(what, before, i), true
		}
	}
	return cluster.Event{}, false
}

// impairedEvent tells that an active instance is kept from its work, and that it is not any more.
func impairedEvent(what string, before, i cluster.Instance) (cluster.Event, bool) {
	switch {
	case i.State != cluster.Active || i.Desired != cluster.WantActive || (before.Reason == "") == (i.Reason == ""):
		return cluster.Event{}, false
	case i.Reason != "":
		return instanceEvent(i, cluster.Warning, "Impaired", clip(what+" is active, but "+i.Reason)), true
	}
	return instanceEvent(i, cluster.Info, "Recovered", what+" is not impaired any more: "+before.Reason), true
}

// leaveEvent tells why an instance has no node any more: it was refused there, or had to leave.
func leaveEvent(what string, before, i cluster.Instance) cluster.Event {
	switch {
	case i.Reason == "":
		return instanceEvent(i, cluster.Info, "Moving", what+" has left its node and goes elsewhere.")
	case before.State == cluster.Scheduled || before.State == cluster.Starting:
		return instanceEvent(i, cluster.Warning, "Refused", clip(what+" was refused by its node and goes elsewhere: "+i.Reason))
	}
	return instanceEvent(i, cluster.Warning, "Moving", clip(what+" goes elsewhere: "+i.Reason))
}

func exitEvent(what string, i cluster.Instance) cluster.Event {
	message := what + " ended"
	severity := cluster.Info
	if i.ExitCode != nil && *i.ExitCode != 0 {
		severity = cluster.Warning
	}
	if i.Reason != "" { // the driver's words, which name the exit code
		message += ": " + i.Reason
	}
	return instanceEvent(i, severity, "Exited", clip(message))
}
