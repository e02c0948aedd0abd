package cli_test

import (
	"os"
	"path/filepath"
	"testing"
)

// TestTapNeedsAScheduler on this machine, and says so.
func TestTapNeedsAScheduler(t *testing.T) {
	nobody(t)
	directory := t.TempDir()
	file := filepath.Join(directory, "cluster.yaml")
	text := "api_version: ciao/v1\nname: test\nscheduler: {addresses: ['127.0.0.1:8888'], directory: " + directory + "}\nnetwork: {underlay: lo}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	refuses(t, 8, []string{"ssntp", "tap", "--config", file}, "no scheduler", "on this machine")
	refuses(t, 2, []string{"ssntp", "tap", "--config", file, "-o", "xml"}, "xml")
	refuses(t, 3, []string{"ssntp", "tap", "--config", filepath.Join(directory, "missing")}, "no cluster file")
}
