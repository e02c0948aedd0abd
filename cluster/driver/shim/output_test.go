package shim

import (
	"bytes"
	"os"
	"testing"
)

func TestOutputIsBounded(t *testing.T) {
	s := Shim{Directory: t.TempDir(), Owner: "i"}
	output, err := os.OpenFile(s.file(outputFile), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	say := func(text []byte) {
		if _, err := output.Write(text); err != nil {
			t.Fatal(err)
		}
	}
	say(append(bytes.Repeat([]byte("x"), maxOutput+1000), "\nbefore\n"...))
	s.Bound()
	say([]byte("after\n")) // the program goes on in the same file
	kept, err := os.ReadFile(s.file(outputFile + ".1"))
	if err != nil || len(kept) != maxOutput || !bytes.HasSuffix(kept, []byte("\nbefore\n")) {
		t.Errorf("kept %d bytes (%v)", len(kept), err)
	}
	now, err := os.ReadFile(s.file(outputFile))
	if err != nil || string(now) != "after\n" {
		t.Errorf("the output is %q (%v)", now, err)
	}
	if last := s.LastLine(); last != "after" {
		t.Errorf("last line is %q", last)
	}
}
