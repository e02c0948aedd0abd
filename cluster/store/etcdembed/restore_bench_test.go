package etcdembed_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ciaocloud/ciao/cluster/store"
	"github.com/ciaocloud/ciao/cluster/store/etcdembed"
)

// BenchmarkRestore restores 10,000 rows of a kilobyte, from nothing to a store that is closed and in place.
func BenchmarkRestore(b *testing.B) {
	const count = 10_000
	fill := strings.Repeat("x", 950)
	rows := func(yield func(store.RawRow, error) bool) {
		for i := range count {
			row := store.RawRow{Path: fmt.Sprintf("counters/%05d", i), Value: fmt.Appendf(nil, `{"ID":"%05d","Fill":"%s"}`, i, fill)}
			if !yield(row, nil) {
				return
			}
		}
	}
	for b.Loop() {
		n, err := etcdembed.Restore(b.Context(), etcdembed.Config{Dir: b.TempDir(), Log: testLog(b)}, rows, false)
		if err != nil || n != count {
			b.Fatal(n, err)
		}
	}
	b.ReportMetric(count*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
