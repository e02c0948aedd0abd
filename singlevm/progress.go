package singlevm

import (
	"fmt"
	"io"
	"time"
)

// progress tells people which step is done and how long it took.
type progress struct{ out io.Writer }

func newProgress(out io.Writer) *progress { return &progress{out} }

// step runs do and tells its name, its time and whether it worked.
func (p *progress) step(name string, do func() error) error {
	start := time.Now()
	err := do()
	mark := "✓"
	if err != nil {
		mark = "✗"
	}
	fmt.Fprintf(p.out, "%s %-58s %6.2f s\n", mark, name, time.Since(start).Seconds())
	return err
}

func (p *progress) say(format string, args ...any) { fmt.Fprintf(p.out, format+"\n", args...) }
