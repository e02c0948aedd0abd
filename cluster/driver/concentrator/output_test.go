package concentrator

import (
	"bytes"
	"os"
	"testing"
)

func TestOutputIsBounded(t *testing.T) {
	c := carrier{id: "i", directory: t.TempDir()}
	output, err := os.OpenFile(c.file(logFile), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	say := func(text []byte) {
		if _, err := output.Write(text); err != nil {
			t.Fatal(err)
		}
	}
	say(append(bytes.Repeat([]byte("x"), maxLog+1000), "\nbefore\n"...))
	c.bound()
	say([]byte("after\n")) // the agent goes on in the same file
	kept, err := os.ReadFile(c.file(logFile + ".1"))
	if err != nil || len(kept) != maxLog || !bytes.HasSuffix(kept, []byte("\nbefore\n")) {
		t.Errorf("kept %d bytes (%v)", len(kept), err)
	}
	now, err := os.ReadFile(c.file(logFile))
	if err != nil || string(now) != "after\n" {
		t.Errorf("the output is %q (%v)", now, err)
	}
	if last := c.lastLine(); last != "after" {
		t.Errorf("last line is %q", last)
	}
}
