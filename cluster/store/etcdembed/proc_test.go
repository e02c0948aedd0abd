package etcdembed_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// residentKiB is this process's resident memory.
func residentKiB(t testing.TB) (kib int) {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kib); n == 1 {
			return kib
		}
	}
	t.Fatal("no VmRSS")
	return 0
}
