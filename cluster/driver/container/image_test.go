package container

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReadPull(t *testing.T) {
	stream := `{"status":"Pulling from x","id":"1"}
{"status":"Downloading","id":"a","progressDetail":{"current":1048576,"total":2097152}}
{"status":"Downloading","id":"b","progressDetail":{"current":0,"total":3145728}}
{"errorDetail":{"message":"manifest unknown"},"error":"manifest unknown"}`
	var told []string
	err := readPull(strings.NewReader(stream), func(message string) { told = append(told, message) })
	if !refused(err) {
		t.Errorf("error is %v", err)
	}
	if broken := readPull(strings.NewReader(stream[:100]), func(string) {}); broken == nil || refused(broken) {
		t.Errorf("a stream that broke off is %v, which is no refusal", broken)
	}
	if diff := cmp.Diff([]string{"1 Pulling from x", "downloading, 1 of 2 MiB", "downloading, 1 of 5 MiB"}, told); diff != "" {
		t.Error(diff)
	}
}

func FuzzReadPull(f *testing.F) {
	f.Add(`{"status":"Downloading","id":"a","progressDetail":{"current":1,"total":2}}`)
	f.Add(`{"error":"no"}{`)
	f.Fuzz(func(t *testing.T, stream string) {
		readPull(strings.NewReader(stream), func(string) {})
	})
}
