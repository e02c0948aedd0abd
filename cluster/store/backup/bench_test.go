package backup

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/ciaocloud/ciao/cluster/store"
)

// thousand rows of a kilobyte, about what an instance takes.
func thousand() (rows []store.RawRow) {
	fill := strings.Repeat("x", 950)
	for i := range 1000 {
		rows = append(rows, store.RawRow{Path: fmt.Sprintf("instances/%04d", i), Value: fmt.Appendf(nil, `{"id":"%04d","fill":"%s"}`, i, fill)})
	}
	return rows
}

func BenchmarkWrite(b *testing.B) {
	rows := thousand()
	for b.Loop() {
		if _, err := Write(io.Discard, "lab", noon, snapshot(rows, nil)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(1000*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

func BenchmarkCheck(b *testing.B) {
	var data bytes.Buffer
	if _, err := Write(&data, "lab", noon, snapshot(thousand(), nil)); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := Check(bytes.NewReader(data.Bytes())); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(1000*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
