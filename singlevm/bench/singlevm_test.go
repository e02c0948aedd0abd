package bench

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// BenchmarkSinglevm times setup, verify and cleanup, with programs and images present.
func BenchmarkSinglevm(b *testing.B) {
	m := newMachine(b)
	var took medians
	for b.Loop() {
		for _, verb := range []string{"setup", "verify", "cleanup"} {
			took.add(verb+"-s", m.singlevm(verb).Seconds())
		}
	}
	took.report(b)
}

// BenchmarkChange times what a developer waits for after one line of the controller has changed: `make build` and then the three.
func BenchmarkChange(b *testing.B) {
	m := newMachine(b)
	changed := newChange(b, m)
	m.run("make", "build")
	b.Cleanup(func() { m.run("make", "build") })
	var took medians
	round := 0
	for b.Loop() {
		round++
		build := m.run("make", "build", "GOFLAGS=-overlay="+changed.write(round)).Seconds()
		three := m.singlevm("setup") + m.singlevm("verify") + m.singlevm("cleanup")
		took.add("build-s", build)
		took.add("build+three-s", build+three.Seconds())
	}
	took.report(b)
}

// change is a file of the controller with one line more, which the compiler sees in place of the true one (go build -overlay).
type change struct {
	b             *testing.B
	source, other string
	overlay       string
	text          []byte
}

func newChange(b *testing.B, m *machine) *change {
	b.Helper()
	c := &change{b: b, source: filepath.Join(m.root, "cluster/controller/controller.go")}
	c.other, c.overlay = filepath.Join(b.TempDir(), "controller.go"), filepath.Join(b.TempDir(), "overlay.json")
	var err error
	if c.text, err = os.ReadFile(c.source); err != nil {
		b.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {c.source: c.other}})
	if err == nil {
		err = os.WriteFile(c.overlay, overlay, 0o600)
	}
	if err != nil {
		b.Fatal(err)
	}
	return c
}

// write makes a line that was never compiled before, and returns the overlay.
func (c *change) write(round int) string {
	c.b.Helper()
	line := fmt.Sprintf("\nvar Benchmarked = %q\n", fmt.Sprint(os.Getpid(), round))
	if err := os.WriteFile(c.other, append(c.text[:len(c.text):len(c.text)], line...), 0o600); err != nil {
		c.b.Fatal(err)
	}
	return c.overlay
}
