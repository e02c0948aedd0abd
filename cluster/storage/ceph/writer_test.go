package ceph

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/ciaocloud/ciao/cluster/storage"
)

// writer is a program that has a volume open for as long as the test takes, as QEMU has it for a guest.
type writer struct {
	commands io.Writer
	answers  chan string
}

func begin(t *testing.T, place storage.Place) *writer {
	t.Helper()
	command := client(t, place)
	commands, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	answers, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	command.Stderr = command.Stdout
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	w := &writer{commands, make(chan string, 100)}
	go func() {
		defer close(w.answers)
		for lines := bufio.NewScanner(answers); lines.Scan(); {
			w.answers <- lines.Text()
		}
	}()
	t.Cleanup(func() {
		command.Process.Kill()
		for range w.answers {
		}
		command.Wait()
	})
	return w
}

// write writes a note and wants that to succeed, or to fail.
func (w *writer) write(t *testing.T, text string, succeeds bool) {
	t.Helper()
	if _, err := fmt.Fprintf(w.commands, "write -s %s 0 512\n", sector(t, text)); err != nil {
		t.Fatal(err)
	}
	for line := range w.answers {
		switch {
		case strings.Contains(line, "wrote 512/512"):
			if !succeeds {
				t.Errorf("%q was written by one who was cut off", text)
			}
			return
		case strings.Contains(line, "write failed"):
			if succeeds {
				t.Errorf("%q was not written: %s", text, line)
			}
			return
		}
	}
	t.Errorf("%q: no answer", text)
}
