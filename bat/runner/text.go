package runner

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ciaocloud/ciao/bat"
	"github.com/ciaocloud/ciao/terminal"
)

// second is how often the time of a running test is shown anew.
const second = time.Second

// text reports for people: one line a test, with its time while it runs where the reader is a terminal; what is known of a failure
// below it.
type text struct {
	out     io.Writer
	verbose bool
	live    bool
	stop    func()
}

func newText(out io.Writer, verbose bool) *text {
	return &text{out: out, verbose: verbose, live: terminal.Interactive(out), stop: func() {}}
}

func (t *text) began(e entry) {
	if !t.live {
		return
	}
	start, stop, stopped := time.Now(), make(chan struct{}), make(chan struct{})
	t.stop = func() {
		close(stop)
		<-stopped
		fmt.Fprint(t.out, "\r\x1b[K")
		t.stop = func() {}
	}
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(second)
		defer ticker.Stop()
		for {
			fmt.Fprintf(t.out, "\r\x1b[K… %-42s %7.0f s", e.name(), time.Since(start).Seconds())
			select {
			case <-stop:
				return
			case <-ticker.C:
			}
		}
	}()
}

var marks = map[bat.Status]string{bat.Passed: "✓", bat.Failed: "✗", bat.Skipped: "-"}

func (t *text) ended(o bat.Outcome) {
	t.stop()
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
