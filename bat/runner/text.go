package runner

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ciaocloud/ciao/bat"
	"github.com/ciaocloud/ciao/terminal"
)

// second is how often the time of what runs is shown anew.
const second = time.Second

// text reports for people: one line a test when it has ended; where the reader is a terminal, what runs and for how long, below them; what is known
// of a failure below its line.
type text struct {
	out     io.Writer
	verbose bool
	live    bool

	mu      sync.Mutex // guards what follows, and out
	running []begun    // the first that began first
	quit    func()     // ends the clock that runs while a test does
}

// begun is a test that runs.
type begun struct {
	name  string
	since time.Time
}

func newText(out io.Writer, verbose bool) *text {
	return &text{out: out, verbose: verbose, live: terminal.Interactive(out)}
}

func (t *text) began(e entry) {
	if !t.live {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running = append(t.running, begun{e.name(), time.Now()})
	t.show()
	if len(t.running) == 1 {
		t.quit = t.tick()
	}
}

// tick shows what runs every second until the returned function is called, which holds mu.
func (t *text) tick() (quit func()) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		ticker := time.NewTicker(second)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			t.mu.Lock()
			if ctx.Err() == nil {
				t.show()
			}
			t.mu.Unlock()
		}
	}()
	return cancel
}

// clearLine goes to the line's beginning and empties it.
const clearLine = "\r\x1b[K"

// show writes the line of what runs: the test that has run longest, and how many others. It fits 80 columns.
func (t *text) show() {
	if len(t.running) == 0 {
		return
	}
	first, others := t.running[0], ""
	if more := len(t.running) - 1; more > 0 {
		others = fmt.Sprintf("  and %d more", more)
	}
	fmt.Fprintf(t.out, "%s… %-42s %7.0f s%s", clearLine, first.name, time.Since(first.since).Seconds(), others)
}

// finished takes a test from those that run.
func (t *text) finished(name string) {
	if !t.live {
		return
	}
	fmt.Fprint(t.out, clearLine)
	t.running = slices.DeleteFunc(t.running, func(b begun) bool { return b.name == name })
	if len(t.running) == 0 && t.quit != nil {
		t.quit()
	}
}

var marks = map[bat.Status]string{bat.Passed: "✓", bat.Failed: "✗", bat.Skipped: "-"}

func (t *text) ended(o bat.Outcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.finished(o.Suite + "/" + o.Test.Name)
	defer t.show()
	fmt.Fprintf(t.out, "%s %-42s %7.2f s", marks[o.Status], o.Suite+"/"+o.Test.Name, o.Took.Seconds())
	if o.Status != bat.Passed {
		reason, _, _ := strings.Cut(o.Reason, "\n")
		fmt.Fprintf(t.out, "  %s: %s", o.Status, reason)
	}
	fmt.Fprintln(t.out)
	if t.verbose || o.Status == bat.Failed {
		t.section("", strings.Join(o.Log, "\n"))
	}
	if o.Status == bat.Failed {
		t.section("promised", o.Test.Summary+"\nexpected: "+o.Test.Expected)
		for _, artefact := range o.Artefacts {
			t.section(artefact.Name, artefact.Text)
		}
	}
}

// section shows a text below the line of its test.
func (t *text) section(name, text string) {
	if strings.TrimSpace(text) == "" {
		return
	}
	indent := "    "
	if name != "" {
		fmt.Fprintf(t.out, "  ── %s\n", name)
	}
	for line := range strings.Lines(strings.TrimRight(text, "\n") + "\n") {
		fmt.Fprint(t.out, indent, line)
	}
}

// silent reports nothing: the result is written as a whole.
type silent struct{}

func (silent) began(entry)       {}
func (silent) ended(bat.Outcome) {}
