package tap

import "testing"

// TestSlowViewer misses frames and is told how many, once; nobody waits for it.
func TestSlowViewer(t *testing.T) {
	v := &viewer{records: make(chan Record, queued)}
	for range queued + 10 {
		v.show(Record{})
	}
	for range queued {
		if r := <-v.records; r.Missed != 0 {
			t.Fatalf("missed %d before anything was", r.Missed)
		}
	}
	v.show(Record{})
	v.show(Record{})
	if first, second := <-v.records, <-v.records; first.Missed != 10 || second.Missed != 0 {
		t.Errorf("told of %d and %d, want 10 and 0", first.Missed, second.Missed)
	}
}
