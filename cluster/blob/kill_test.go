package blob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster"
)

// childDirectory and childContent turn the test binary into a process that uploads a file again and again until it is killed.
const (
	childDirectory = "CIAO_TEST_BLOBS_DIRECTORY"
	childContent   = "CIAO_TEST_BLOBS_CONTENT"
)

func TestMain(m *testing.M) {
	if directory := os.Getenv(childDirectory); directory != "" {
		fmt.Fprintln(os.Stderr, child(directory, os.Getenv(childContent)))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func child(directory, file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	s, err := Open(directory)
	for err == nil {
		have := s.Uploaded(upload)
		end := min(int64(len(data)), have+1+rand.Int64N(int64(len(data))))
		if _, err = s.Append(upload, have, int64(len(data)), bytes.NewReader(data[have:end])); err == nil && end == int64(len(data)) {
			_, err = s.Complete(context.Background(), upload, digestOf(data), cluster.FormatTar)
		}
	}
	return err
}

// TestKilledAtAnyMoment: however far an upload had come when the process was killed, what is there is the beginning of it, or all of it as a blob;
// the next process goes on from there, and at the end nothing else is left.
func TestKilledAtAnyMoment(t *testing.T) {
	data := archive(t, "one", "two", "three", string(bytes.Repeat([]byte("four "), 2000)))
	file, directory := filepath.Join(t.TempDir(), "content"), t.TempDir()
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	midway := 0
	for range 12 {
		command := exec.CommandContext(t.Context(), os.Args[0])
		command.Env = append(os.Environ(), childDirectory+"="+directory, childContent+"="+file)
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rand.IntN(120)) * time.Millisecond) // the moment of death: any will do
		if err := command.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if command.Wait(); command.ProcessState.Exited() {
			t.Fatal("it ended by itself")
		}
		if goOn(t, directory, data) {
			midway++
		}
	}
	t.Logf("killed 12 times, %d times midway", midway)
}

// goOn does what the next process does, and the one who uploads; it says whether there was something to go on with.
func goOn(t *testing.T, directory string, data []byte) (midway bool) {
	t.Helper()
	s, err := Open(directory)
	if err != nil {
		t.Fatal(err)
	}
	if blob, err := s.Open(digestOf(data)); err == nil {
		whole, err := io.ReadAll(blob)
		if err := errors.Join(err, blob.Close()); err != nil || !bytes.Equal(whole, data) {
			t.Errorf("a blob is %d bytes, %v, and not what was uploaded", len(whole), err)
		}
	}
	have := s.Uploaded(upload)
	there, err := os.ReadFile(s.upload(upload))
	if have > 0 && (err != nil || !bytes.HasPrefix(data, there)) {
		t.Errorf("the %d bytes that are there are not the beginning: %v", have, err)
	}
	if _, err := s.Append(upload, have, int64(len(data)), bytes.NewReader(data[have:])); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Complete(t.Context(), upload, digestOf(data), cluster.FormatTar); err != nil {
		t.Error(err)
	}
	if err := s.Sweep(func(string) bool { return false }, func(string) bool { return false }); err != nil {
		t.Error(err)
	}
	for _, part := range []string{"blobs", "uploads"} {
		if left, err := os.ReadDir(filepath.Join(directory, part)); err != nil || len(left) > 0 {
			t.Errorf("left of %s: %v, %v", part, left, err)
		}
	}
	return have > 0
}
