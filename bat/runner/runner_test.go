package runner

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/ciaocloud/ciao/bat"
	"github.com/ciaocloud/ciao/terminal"
)

// fake is a suite of tests that end in every way there is.
func fake(cleaned *[]string) []bat.Suite {
	note := func(t *bat.T, name string) { t.Cleanup(func(context.Context) { *cleaned = append(*cleaned, name) }) }
	test := func(name string, run func(context.Context, *bat.T)) bat.Test {
		return bat.Test{Name: name, Summary: "s-" + name, Description: "d-" + name, Expected: "e-" + name, Run: run}
	}
	return []bat.Suite{
		{Name: "good", Summary: "tests that pass", Tests: []bat.Test{
			test("Passes", func(_ context.Context, t *bat.T) { note(t, "first"); note(t, "last"); t.Logf("all is well") }),
			test("Skips", func(_ context.Context, t *bat.T) {
				note(t, "skipped")
				t.Skipf("no %s here", "moon")
				t.Errorf("not reached")
			}),
		}},
		{Name: "bad", Summary: "tests that do not", Tests: []bat.Test{
			test("Fails", func(_ context.Context, t *bat.T) { note(t, "failed"); t.Fatalf("<water> is %s", "wet\x00") }),
			test("Errs", func(_ context.Context, t *bat.T) { t.Errorf("one"); t.Errorf("two"); t.Skipf("too late") }),
			test("Panics", func(context.Context, *bat.T) { panic("boom") }),
			test("Waits", func(ctx context.Context, t *bat.T) { note(t, "waited"); <-ctx.Done() }),
			test("Hangs", func(_ context.Context, t *bat.T) { note(t, "hung"); time.Sleep(time.Hour) }),
			test("CleansBadly", func(_ context.Context, t *bat.T) { t.Cleanup(func(context.Context) { t.Errorf("it stays") }) }),
		}},
	}
}

// collector is a reporter that only remembers.
type collector struct{ names []string }

func (c *collector) began(e entry)       { c.names = append(c.names, e.name()) }
func (c *collector) ended(o bat.Outcome) { c.names = append(c.names, string(o.Status)) }

func TestEveryWayToEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var cleaned []string
		tests, err := choice{}.from(fake(&cleaned))
		if err != nil {
			t.Fatal(err)
		}
		outcomes := run(t.Context(), nil, tests, options{limit: time.Minute, scale: 2}, &collector{})
		var got []string
		for _, o := range outcomes {
			reason, _, _ := strings.Cut(o.Reason, "\n")
			got = append(got, o.String()+" "+reason)
		}
		want := []string{
			"good/Passes passed ",
			"good/Skips skipped no moon here",
			"bad/Fails failed <water> is wet\x00",
			"bad/Errs failed one",
			"bad/Panics failed panic: boom",
			"bad/Waits failed the test took longer than its limit of 2m0s",
			"bad/Hangs failed the test did not end within 10s of its time limit",
			"bad/CleansBadly failed it stays",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("outcomes differ (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"last", "first", "skipped", "failed", "waited", "hung"}, cleaned); diff != "" {
			t.Errorf("cleanups differ (-want +got):\n%s", diff)
		}
		if got, want := summary(outcomes), "1 passed, 6 failed, 1 skipped"; got != want {
			t.Errorf("summary = %q, want %q", got, want)
		}
		time.Sleep(2 * time.Hour) // the test that hung ends, so that nothing is left behind
		synctest.Wait()
	})
}

func TestFirstFailureStopsARun(t *testing.T) {
	var cleaned []string
	tests, err := choice{pattern: "Fails|Errs"}.from(fake(&cleaned))
	if err != nil {
		t.Fatal(err)
	}
	var seen collector
	run(t.Context(), nil, tests, options{limit: time.Minute, failFast: true}, &seen)
	if diff := cmp.Diff([]string{"bad/Fails", "failed"}, seen.names); diff != "" {
		t.Errorf("ran (-want +got):\n%s", diff)
	}
}

// TestSeveralAtATime wants tests to run side by side, as many as asked for, those that want to be alone by themselves, and the result in
// the order of the list.
func TestSeveralAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int32
		waits := func(name string, expectAlone bool) bat.Test {
			return bat.Test{Name: name, Run: func(ctx context.Context, b *bat.T) {
				beside := now.Add(1)
				defer now.Add(-1)
				most.Store(max(most.Load(), beside))
				time.Sleep(time.Second)
				if expectAlone && now.Load() != 1 {
					b.Errorf("it is not alone")
				}
			}}
		}
		suites := []bat.Suite{
			{Name: "one", Tests: []bat.Test{waits("A", false), waits("B", true), waits("C", false), waits("D", false)}},
			{Name: "two", Alone: true, Tests: []bat.Test{waits("E", true), waits("F", true)}},
		}
		suites[0].Tests[1].Alone = true
		tests, err := choice{}.from(suites)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		var names []string
		for _, o := range run(t.Context(), nil, tests, options{limit: time.Minute, parallel: 2}, &collector{}) {
			names = append(names, o.String())
		}
		want := []string{"one/A passed", "one/B passed", "one/C passed", "one/D passed", "two/E passed", "two/F passed"}
		if diff := cmp.Diff(want, names); diff != "" {
			t.Errorf("outcomes differ (-want +got):\n%s", diff)
		}
		if took := time.Since(began); took != 5*time.Second || most.Load() != 2 {
			t.Errorf("it took %s with %d at a time, expected 5 s and 2", took, most.Load())
		}
	})
}

func TestInterruptCleansUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, interrupt := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, interrupt)
		var cleaned []string
		tests, err := choice{pattern: "Waits|Errs"}.from(fake(&cleaned))
		if err != nil {
			t.Fatal(err)
		}
		slices.Reverse(tests)
		outcomes := run(ctx, nil, tests, options{limit: time.Minute}, &collector{})
		if len(outcomes) != 1 || outcomes[0].Reason != "interrupted" || !slices.Equal(cleaned, []string{"waited"}) {
			t.Errorf("outcomes %v, cleaned %v", outcomes, cleaned)
		}
	})
}

func TestChoice(t *testing.T) {
	var cleaned []string
	for _, test := range []struct {
		name string
		choice
		want  []string
		fails string
	}{
		{"all of a suite", choice{suites: []string{"good"}}, []string{"good/Passes", "good/Skips"}, ""},
		{"a pattern of both names", choice{pattern: "^good/P"}, []string{"good/Passes"}, ""},
		{"both", choice{pattern: "s$", suites: []string{"bad"}}, []string{"bad/Fails", "bad/Errs", "bad/Panics", "bad/Waits", "bad/Hangs"}, ""},
		{"no such suite", choice{suites: []string{"ugly"}}, nil, `there is no suite "ugly"; the suites are good, bad`},
		{"no such test", choice{pattern: "nothing"}, nil, "no test matches"},
		{"not a pattern", choice{pattern: "("}, nil, "--run is not a regular expression"},
	} {
		t.Run(test.name, func(t *testing.T) {
			chosen, err := test.from(fake(&cleaned))
			if test.fails != "" {
				if err == nil || !strings.Contains(err.Error(), test.fails) {
					t.Fatalf("error = %v, want %q", err, test.fails)
				}
				return
			}
			var names []string
			for _, e := range chosen {
				names = append(names, e.name())
			}
			if diff := cmp.Diff(test.want, names); err != nil || diff != "" {
				t.Errorf("error %v, chosen (-want +got):\n%s", err, diff)
			}
		})
	}
}

// outcomesOf runs the tests that end by themselves.
func outcomesOf(t *testing.T) []bat.Outcome {
	t.Helper()
	var cleaned []string
	tests, err := choice{pattern: "Passes|Skips|Fails|Panics"}.from(fake(&cleaned))
	if err != nil {
		t.Fatal(err)
	}
	outcomes := run(t.Context(), nil, tests, options{limit: time.Minute}, &collector{})
	outcomes[2].Artefacts = []bat.Artefact{{Name: "nodes", Text: "]]> \x1b[2J \xff"}}
	return outcomes
}

func TestJUnitIsReadBack(t *testing.T) {
	var out bytes.Buffer
	if err := writeJUnit(&out, outcomesOf(t)); err != nil {
		t.Fatal(err)
	}
	var got junitSuites
	if err := xml.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatalf("%v in:\n%s", err, out.String())
	}
	if got.Tests != 4 || got.Failures != 2 || got.Skipped != 1 || len(got.Suites) != 2 {
		t.Fatalf("the document counts %d tests, %d failures, %d skipped, %d suites", got.Tests, got.Failures, got.Skipped, len(got.Suites))
	}
	failed := got.Suites[1].Cases[0]
	if failed.Name != "Fails" || failed.Class != "bat.bad" || failed.Failure == nil || failed.Failure.Message != "<water> is wet" {
		t.Errorf("the failure is %+v %+v", failed, failed.Failure)
	}
	if !strings.Contains(failed.Failure.Text, "]]>") || strings.ContainsRune(failed.Failure.Text, 0x1b) {
		t.Errorf("the artefacts are %q", failed.Failure.Text)
	}
	if skipped := got.Suites[0].Cases[1]; skipped.Skipped == nil || skipped.Skipped.Message != "no moon here" {
		t.Errorf("the skip is %+v", skipped)
	}
}

func TestTAP(t *testing.T) {
	var out bytes.Buffer
	if err := writeTAP(&out, outcomesOf(t)); err != nil {
		t.Fatal(err)
	}
	head := "TAP version 14\n1..4\nok 1 - good/Passes\nok 2 - good/Skips # SKIP no moon here\nnot ok 3 - bad/Fails\n  ---\n"
	body, found := strings.CutPrefix(out.String(), head)
	block, rest, ended := strings.Cut(body, "  ...\n")
	if !found || !ended || !strings.HasPrefix(rest, "not ok 4 - bad/Panics\n") {
		t.Fatalf("want it to begin with %q:\n%s", head, out.String())
	}
	var failed diagnostic
	if err := yaml.Unmarshal([]byte(block), &failed); err != nil || failed.Message != "<water> is wet" || failed.Expected != "e-Fails" {
		t.Errorf("the diagnostic is %+v (%v):\n%s", failed, err, block)
	}
}

func TestHTMLShowsEverythingAsText(t *testing.T) {
	var out bytes.Buffer
	if err := writeHTML(&out, outcomesOf(t)); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"1 passed, 2 failed, 1 skipped", "<h2>good</h2>", "no moon here", "&lt;water&gt; is wet", "<summary>nodes</summary>", "e-Fails"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("the page lacks %q:\n%s", part, out.String())
		}
	}
	if strings.Contains(out.String(), "<water>") {
		t.Error("what a test says is taken for HTML")
	}
}

func TestTextTellsWhatFailed(t *testing.T) {
	var out bytes.Buffer
	report := newText(&out, false)
	for _, o := range outcomesOf(t) {
		report.began(entry{suite: o.Suite, test: o.Test})
		report.ended(o)
	}
	for _, line := range []string{"✓ good/Passes", "- good/Skips", "skipped: no moon here", "✗ bad/Fails", "expected: e-Fails", "── nodes", "goroutine"} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("the report lacks %q:\n%s", line, out.String())
		}
	}
	if strings.Contains(out.String(), "all is well") {
		t.Errorf("the log of a test that passed is shown without --verbose")
	}
}

// TestTerminalShowsWhatRuns wants a line of its own for what runs, which makes way for what has ended.
func TestTerminalShowsWhatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		report := newText(&out, false)
		report.live = true
		report.began(entry{suite: "s", test: bat.Test{Name: "One"}})
		report.began(entry{suite: "s", test: bat.Test{Name: "Two"}})
		time.Sleep(1500 * time.Millisecond)
		report.ended(bat.Outcome{Suite: "s", Test: bat.Test{Name: "One"}, Status: bat.Passed, Took: time.Second})
		report.ended(bat.Outcome{Suite: "s", Test: bat.Test{Name: "Two"}, Status: bat.Passed, Took: time.Second})
		synctest.Wait()
		for _, part := range []string{"1 s  and 1 more", clearLine + "✓ s/One", clearLine + "… s/Two", clearLine + "✓ s/Two"} {
			if !strings.Contains(out.String(), part) {
				t.Errorf("the terminal did not show %q:\n%q", part, out.String())
			}
		}
	})
}

func TestCommandLine(t *testing.T) {
	nowhere := filepath.Join(t.TempDir(), "nothing")
	for _, variable := range []string{"CIAO_CONTROLLER", "CIAO_CLIENT_CERT_FILE", "CIAO_ADMIN_CLIENT_CERT_FILE", "CIAO_CA_CERT_FILE", "CIAO_TENANT_ID"} {
		t.Setenv(variable, "")
	}
	var cleaned []string
	for _, test := range []struct {
		name, args string
		code       int
		out, err   string
	}{
		{"the plan", "--list", 0, "d-Passes", ""},
		{"one hyphen will do", "-list -run=Passes -suite good", 0, "1 tests", ""},
		{"no cluster", "--singlevm " + nowhere, terminal.ExitUsage, "", "there is no cluster to judge"},
		{"unknown suite", "--suite ugly", terminal.ExitUsage, "", "there is no suite"},
		{"unknown form", "-o xml", terminal.ExitUsage, "", "use text, html, junit, tap"},
		{"no test at a time", "--parallel 0", terminal.ExitUsage, "", "at least 1"},
		{"unknown flag", "--colour", terminal.ExitUsage, "", "--colour"},
		{"an argument", "smoke", terminal.ExitUsage, "", "one argument too many"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out, problems bytes.Buffer
			code := Main(t.Context(), "v", fake(&cleaned), strings.Fields(test.args), terminal.Streams{Out: &out, Err: &problems})
			if code != test.code || !strings.Contains(out.String(), test.out) || !strings.Contains(problems.String(), test.err) {
				t.Errorf("code %d (want %d), out %q, err %q", code, test.code, out.String(), problems.String())
			}
		})
	}
}

func TestExitCodeSaysWhatFailed(t *testing.T) {
	for _, test := range []struct {
		name, pattern string
		failFast      bool
		want          string
	}{
		{"all passed", "Passes|Skips", false, ""},
		{"one failed", "Passes|Fails", false, "1 of 2 tests failed"},
		{"stopped", "Fails|Errs", true, "stopped at the first failure, after 1 of 2 tests"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var cleaned []string
			var out, problems bytes.Buffer
			c := &command{streams: terminal.Streams{Out: &out, Err: &problems}}
			c.flags(pflag.NewFlagSet("", pflag.ContinueOnError))
			c.options = options{limit: time.Minute, failFast: test.failFast}
			directory := t.TempDir()
			for form, file := range c.files {
				*file = filepath.Join(directory, form)
			}
			chosen, err := choice{pattern: test.pattern}.from(fake(&cleaned))
			if err != nil {
				t.Fatal(err)
			}
			err = c.judge(t.Context(), nil, chosen)
			if (err == nil) != (test.want == "") || err != nil && (!errors.Is(err, errFailed) || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("error = %v, want %q", err, test.want)
			}
			lines := strings.Split(strings.TrimSpace(out.String()), "\n")
			if last := lines[len(lines)-1]; !strings.HasSuffix(last, "skipped") {
				t.Errorf("the last line is %q, not the summary", last)
			}
			for form, file := range c.files {
				if info, err := os.Stat(*file); err != nil || info.Size() == 0 {
					t.Errorf("the %s file is not there: %v", form, err)
				}
			}
		})
	}
}
