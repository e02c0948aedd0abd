package cli

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/ciaocloud/ciao/ccloudvm"
	"github.com/ciaocloud/ciao/ccloudvm/instance"
)

// progress shows long work on standard error: on a terminal as a tree whose last line is alive, elsewhere as plain lines.
type progress struct {
	mu       sync.Mutex
	out      io.Writer
	terminal *os.File // nil: plain lines

	began       time.Time
	phase, task string
	phaseSince  time.Time
	taskSince   time.Time
	note        string
	live        bool // the last line is unfinished

	stop chan struct{}
	done sync.WaitGroup
}

func newProgress(out io.Writer) *progress {
	p := &progress{out: out, began: time.Now(), stop: make(chan struct{})}
	if f, ok := isTerminal(out); ok {
		p.terminal = f
		p.done.Go(p.animate)
	}
	return p
}

// animate keeps the time in the live line going.
func (p *progress) animate() {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-tick.C:
			p.mu.Lock()
			p.draw()
			p.mu.Unlock()
		}
	}
}

func (p *progress) event(e instance.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e.Kind {
	case instance.PhaseBegins:
		p.endPhase("done", e.Time)
		p.phase, p.phaseSince, p.note = e.Text, e.Time, ""
		if p.terminal == nil {
			p.line("%s", e.Text)
		}
	case instance.PhaseNote:
		if p.terminal == nil && e.Text != p.note && plainNote(p.note, e.Text) {
			p.line("  %s", e.Text)
		}
		p.note = e.Text
	case instance.TaskBegins:
		p.task, p.taskSince = e.Text, e.Time
	case instance.TaskSucceeded, instance.TaskFailed:
		verdict := "ok"
		if e.Kind == instance.TaskFailed {
			verdict = "FAILED"
		}
		p.line("  %s: %s (%s)", e.Text, verdict, seconds(e.Time.Sub(p.taskSince)))
		p.task = ""
	case instance.Message:
		p.line("  %s", e.Text)
	}
	p.draw()
}

// plainNote keeps the notes of one kind (a download's progress) from filling a log: only their first word counts.
func plainNote(before, now string) bool {
	cut := func(s string) string { return s[:min(len(s), 12)] }
	return cut(before) != cut(now)
}

// endPhase writes the finished phase down; a plain log has its beginning already.
func (p *progress) endPhase(verdict string, at time.Time) {
	if p.phase == "" {
		return
	}
	if p.terminal != nil {
		p.line("%s: %s (%s)", p.phase, verdict, seconds(at.Sub(p.phaseSince)))
	}
	p.phase, p.task = "", ""
}

// close ends the display. The error itself is shown by the caller.
func (p *progress) close(err error) {
	close(p.stop)
	p.done.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	verdict := "done"
	if err != nil {
		verdict = "failed"
	}
	p.endPhase(verdict, time.Now())
	p.wipe()
}

func (p *progress) line(format string, args ...any) {
	p.wipe()
	if p.terminal == nil {
		fmt.Fprintf(p.out, "[%6s] ", seconds(time.Since(p.began)))
	}
	fmt.Fprintf(p.out, format+"\n", args...)
}

// draw writes the live line: what is being done, for how long, and the newest about it.
func (p *progress) draw() {
	if p.terminal == nil || p.phase == "" {
		return
	}
	text, since := p.phase, p.phaseSince
	if p.task != "" {
		text, since = "  "+p.task, p.taskSince
	}
	text += " … " + seconds(time.Since(since))
	if p.task == "" && p.note != "" {
		text += "  " + p.note
	}
	p.wipe()
	if size := terminalSize(p.terminal); size != nil {
		runes := []rune(text)
		text = string(runes[:min(len(runes), max(size.Columns-1, 20))])
	}
	fmt.Fprint(p.out, text)
	p.live = true
}

func (p *progress) wipe() {
	if p.live {
		fmt.Fprint(p.out, "\r\x1b[K")
		p.live = false
	}
}

// summary lists how long the phases of a creation took.
func (p *progress) summary(made ccloudvm.Instance) {
	var whole time.Duration
	fmt.Fprintln(p.out)
	for _, phase := range made.Phases {
		fmt.Fprintf(p.out, "%-14s %8s\n", phase.Name, seconds(phase.Duration))
		whole += phase.Duration
	}
	fmt.Fprintf(p.out, "%-14s %8s\n", "in all", seconds(whole))
}

func seconds(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return d.Round(time.Second).String()
}

type size struct{ Columns, Rows int }

// terminalSize is the size of the terminal that the file is, or nil when it is none.
func terminalSize(f *os.File) *size {
	columns, rows, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return nil
	}
	return &size{columns, rows}
}
