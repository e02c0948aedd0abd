package config

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestClusterFileIsDocumented compares the keys of docs/cluster-file.md with those that are read.
func TestClusterFileIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/cluster-file.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z0-9_.]+)` \\|").FindAllSubmatch(page, -1) {
		documented = append(documented, string(row[1]))
	}
	read := keys("", reflect.TypeFor[Cluster]())
	slices.Sort(documented)
	slices.Sort(read)
	if diff := cmp.Diff(read, documented); diff != "" {
		t.Errorf("keys of the cluster file (-read +documented):\n%s", diff)
	}
}

// keys are the paths of a section's fields.
func keys(prefix string, section reflect.Type) (all []string) {
	for i := range section.NumField() {
		field := section.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		if field.Type.Kind() == reflect.Struct {
			all = append(all, keys(prefix+name+".", field.Type)...)
		} else {
			all = append(all, prefix+name)
		}
	}
	return all
}
