package image

import (
	"fmt"
	"slices"
	"strings"
)

// Entry is an image of the catalogue.
type Entry struct {
	Name   string
	Title  string // what people call it
	Source Source
	Suite  string // Debian suite to build it from when the source cannot be reached; "" if it cannot be built
}

// Catalogue lists the known images.
func Catalogue() []Entry {
	// generic, not genericcloud: the cloud flavour's kernel has no 9p.
	const site = "https://cloud.debian.org/images/cloud/"
	return []Entry{{
		Name: "debian-12", Title: "Debian 12 (bookworm)", Suite: "bookworm",
		Source: Source{
			URL:     site + "bookworm/latest/debian-12-generic-amd64.qcow2",
			SumsURL: site + "bookworm/latest/SHA512SUMS",
		},
	}}
}

// Find returns the entry of that name.
func Find(name string) (Entry, error) {
	all := Catalogue()
	if i := slices.IndexFunc(all, func(e Entry) bool { return e.Name == name }); i >= 0 {
		return all[i], nil
	}
	var names []string
	for _, e := range all {
		names = append(names, e.Name)
	}
	return Entry{}, fmt.Errorf("%w %q: there are %s, or give the URL of one", ErrUnknown, name, strings.Join(names, ", "))
}
