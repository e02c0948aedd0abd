package controller

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
)

func TestRecord(t *testing.T) {
	const active, stopped, deleted = cluster.WantActive, cluster.WantStopped, cluster.WantDeleted
	three := 3
	tests := []struct {
		name    string
		state   cluster.State
		desired cluster.Desired
		bound   bool
		node    string // of the report; n1 is the instance's
		report  payload.InstanceReport
		verdict verdict
		want    cluster.State
	}{
		{"accepted", cluster.Scheduled, active, false, "n1", payload.InstanceReport{Generation: 2, State: cluster.Starting}, changed, cluster.Starting},
		{"accepted, in other words", cluster.Scheduled, active, false, "n1", payload.InstanceReport{Generation: 2, State: cluster.Scheduled}, changed, cluster.Starting},
		{"active at once", cluster.Scheduled, active, false, "n1", payload.InstanceReport{Generation: 2, State: cluster.Active}, changed, cluster.Active},
		{"repeated", cluster.Active, active, true, "n1", payload.InstanceReport{Generation: 2, State: cluster.Active}, nothing, cluster.Active},
		{"of an older generation", cluster.Scheduled, active, true, "n1", payload.InstanceReport{Generation: 1, State: cluster.Exited}, nothing, cluster.Scheduled},
		{"of a generation that the store has lost", cluster.Scheduled, active, true, "n1", payload.InstanceReport{Generation: 5, State: cluster.Active}, changed, cluster.Active},
		{"of another node", cluster.Active, active, true, "n2", payload.InstanceReport{Generation: 2, State: cluster.Active}, stray, cluster.Active},
		{"gone from another node", cluster.Active, active, true, "n2", payload.InstanceReport{Generation: 2, State: cluster.Gone}, nothing, cluster.Active},
		{"exited", cluster.Active, active, true, "n1", payload.InstanceReport{Generation: 2, State: cluster.Exited, ExitCode: &three}, changed, cluster.Exited},
		{"exited while it was to stop", cluster.Stopping, stopped, true, "n1", payload.InstanceReport{Generation: 2, State: cluster.Exited, ExitCode: &three}, changed, cluster.Stopped},
		{"stopped", cluster.Stopping, stopped, true, "n1", payload.InstanceReport{Generation: 2, State: cluster.Stopped}, changed, cluster.Stopped},
		{"still active while it is to stop", cluster.Stopping, stopped, true, "n1", payload.InstanceReport{Generation: 2, State: cluster.Active}, nothing, cluster.Stopping},
		{"stopped by somebody else", cluster.Active, active, true, "n1", payload.InstanceReport{Generation: 2, State: cluster.Stopped}, changed, cluster.Exited},
		{"failed", cluster.Starting, active, false, "n1", payload.InstanceReport{Generation: 2, State: cluster.Failed, Reason: "x"}, changed, cluster.Failed},
		{"refused for want of room", cluster.Starting, active, false, "n1", payload.InstanceReport{Generation: 2, State: cluster.Failed, Retry: true}, changed, cluster.Pending},
		{"refused at once for want of room", cluster.Scheduled, active, false, "n1", payload.InstanceReport{Generation: 2, State: cluster.Failed, Retry: true}, changed, cluster.Pending},
		{"refused where it has run before", cluster.Scheduled, active, true, "n1", payload.InstanceReport{Generation: 2, State: cluster.Failed, Retry: true}, changed, cluster.Failed},
		{"failed while it was to stop", cluster.Stopping, stopped, false, "n1", payload.InstanceReport{Generation: 2, State: cluster.Failed}, changed, cluster.Stopped},
		{"given up by the node that refused it", cluster.Pending, active, false, "n1", payload.InstanceReport{Generation: 2, State: cluster.Gone}, changed, cluster.Pending},
		{"late word of the node that refused it", cluster.Pending, active, false, "n1", payload.InstanceReport{Generation: 2, State: cluster.Failed, Retry: true}, nothing, cluster.Pending},
		{"back", cluster.Missing, active, true, "n1", payload.InstanceReport{Generation: 2, State: cluster.Active}, changed, cluster.Active},
		{"back without it", cluster.Missing, active, true, "n1", payload.InstanceReport{Generation: 2, State: cluster.Gone}, changed, cluster.Scheduled},
		{"back with an older start", cluster.Missing, active, true, "n1", payload.InstanceReport{Generation: 1, State: cluster.Active}, changed, cluster.Scheduled},
		{"back with an older start, unwanted", cluster.Missing, stopped, true, "n1", payload.InstanceReport{Generation: 1, State: cluster.Active}, changed, cluster.Stopping},
		{"vanished", cluster.Active, active, true, "n1", payload.InstanceReport{Generation: 2, State: cluster.Gone}, changed, cluster.Starting},
		{"vanished while it was to stop", cluster.Stopping, stopped, true, "n1", payload.InstanceReport{Generation: 2, State: cluster.Gone}, changed, cluster.Stopped},
		{"exited and tidied away", cluster.Exited, active, true, "n1", payload.InstanceReport{Generation: 2, State: cluster.Gone}, nothing, cluster.Exited},
		{"not there before its start arrived", cluster.Scheduled, active, false, "n1", payload.InstanceReport{Generation: 2, State: cluster.Gone}, nothing, cluster.Scheduled},
		{"deleted", cluster.Deleting, deleted, true, "n1", payload.InstanceReport{Generation: 2, State: cluster.Gone}, removed, cluster.Deleting},
		{"late word while it is deleted", cluster.Deleting, deleted, true, "n1", payload.InstanceReport{Generation: 2, State: cluster.Active}, nothing, cluster.Deleting},
		{"started again by its engine", cluster.Active, active, true, "n1", payload.InstanceReport{Generation: 2, State: cluster.Starting}, changed, cluster.Starting},
		{"no state", cluster.Active, active, true, "n1", payload.InstanceReport{Generation: 2, State: "dancing"}, nothing, cluster.Active},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			i := cluster.Instance{State: test.state, Desired: test.desired, Bound: test.bound, Node: "n1", Generation: 2}
			got, verdict := record(i, test.node, test.report, false, time.Now())
			if verdict != test.verdict || got.State != test.want {
				t.Errorf("verdict %d, state %s; want %d, %s", verdict, got.State, test.verdict, test.want)
			}
			if verdict == changed && got.Generation < i.Generation {
				t.Errorf("the generation went back to %d", got.Generation)
			}
		})
	}
}

// Whatever is reported, an instance only goes where the state table allows, and stays with its node unless that has given it up.
func TestRecordKeepsToTheStateTable(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	states := cluster.States()
	desired := []cluster.Desired{cluster.WantActive, cluster.WantStopped, cluster.WantDeleted}
	for range 20_000 {
		i := cluster.Instance{
			State: states[random.IntN(len(states))], Desired: desired[random.IntN(3)], Bound: random.IntN(2) == 0,
			Node: []string{"", "n1"}[random.IntN(2)], Generation: 2,
		}
		report := payload.InstanceReport{
			Generation: uint64(1 + random.IntN(3)), State: states[random.IntN(len(states))], Retry: random.IntN(2) == 0,
		}
		got, verdict := record(i, []string{"n1", "n2"}[random.IntN(2)], report, false, time.Now())
		if !i.State.May(got.State) {
			t.Fatalf("%+v became %s by %+v", i, got.State, report)
		}
		if got.Node != i.Node && (i.State != cluster.Pending || report.State != cluster.Gone) {
			t.Fatalf("%+v lost its node by %+v", i, report)
		}
		if verdict == removed && (i.State != cluster.Deleting || report.State != cluster.Gone) {
			t.Fatalf("%+v was removed by %+v", i, report)
		}
	}
}

func TestClip(t *testing.T) {
	for _, text := range []string{"", "short", strings.Repeat("ä", 3000), "\xff\xfe", strings.Repeat("x", maxText-1) + "ä"} {
		got := clip(text)
		if !utf8.ValidString(got) || len(got) > maxText+8 {
			t.Errorf("%.20q became %d bytes, valid %t", text, len(got), utf8.ValidString(got))
		}
	}
}

// The event of an instance that has no node any more says why: no node refused one that was evacuated.
func TestEventOfLeaving(t *testing.T) {
	for name, c := range map[string]struct {
		state               cluster.State
		reason, want, words string
	}{
		"evacuated":            {cluster.Active, "", "Moving", "has left its node and goes elsewhere."},
		"evacuated at a start": {cluster.Starting, "", "Moving", "has left its node and goes elsewhere."},
		"refused":              {cluster.Scheduled, "no room", "Refused", "refused by its node and goes elsewhere: no room"},
		"its node was lost":    {cluster.Missing, "node a was lost", "Moving", "goes elsewhere: node a was lost"},
	} {
		before := cluster.Instance{Name: "web", Node: "a", State: c.state}
		event, told := changeEvent(before, cluster.Instance{Name: "web", State: cluster.Pending, Reason: c.reason})
		if !told || event.Reason != c.want || !strings.HasSuffix(event.Message, c.words) {
			t.Errorf("%s: %t, %s %q; want %s …%q", name, told, event.Reason, event.Message, c.want, c.words)
		}
	}
}

// What keeps an active instance from its work is told when it begins and when it is over, and not with each of its words.
func TestEventOfImpairment(t *testing.T) {
	for name, c := range map[string]struct {
		desired       cluster.Desired
		before, after string
		want          string
	}{
		"it begins":        {cluster.WantActive, "", "its guest is silent", "Impaired"},
		"it changes":       {cluster.WantActive, "its guest is silent", "QEMU does not answer", ""},
		"it is over":       {cluster.WantActive, "QEMU does not answer", "", "Recovered"},
		"nothing happens":  {cluster.WantActive, "", "", ""},
		"it is to stop":    {cluster.WantStopped, "", "node a has not answered", ""},
		"it is to be gone": {cluster.WantDeleted, "QEMU does not answer", "", ""},
	} {
		instance := func(reason string) cluster.Instance {
			return cluster.Instance{Name: "web", Node: "a", State: cluster.Active, Desired: c.desired, Reason: reason}
		}
		event, told := changeEvent(instance(c.before), instance(c.after))
		if told != (c.want != "") || event.Reason != c.want || told && !strings.Contains(event.Message, c.before+c.after) {
			t.Errorf("%s: %t, %s %q; want %q", name, told, event.Reason, event.Message, c.want)
		}
	}
}
