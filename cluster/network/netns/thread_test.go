package netns_test

import (
	"os"
	"testing"

	"github.com/ciaocloud/ciao/cluster/network/netns"
	"github.com/ciaocloud/ciao/require"
)

// What the process's first thread is in is what others take for the process's namespace: it must never be a made one.
func TestProcessStaysWhereItIs(t *testing.T) {
	require.Root(t)
	link := func(path string) string {
		text, err := os.Readlink(path)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	own := link("/proc/self/ns/net")
	for range 50 {
		file, err := netns.New()
		if err != nil {
			t.Fatal(err)
		}
		var inside string
		err = netns.Inside(file, func() error {
			var err error
			inside, err = os.Readlink("/proc/thread-self/ns/net")
			return err
		})
		file.Close()
		if err != nil || inside == own || link("/proc/self/ns/net") != own {
			t.Fatalf("inside %s (%v), the process shows %s, it was in %s", inside, err, link("/proc/self/ns/net"), own)
		}
	}
}
