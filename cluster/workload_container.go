package cluster

import (
	"path"
	"regexp"
	"slices"
)

func (s WorkloadSpec) validateContainer(problems *Problems) {
	if !validImage(s.Image) {
		problems.Add("image", "a container needs the reference of an image, such as debian:12")
	}
	if !slices.Contains([]PullPolicy{PullMissing, PullNever}, s.Pull) {
		problems.Add("pull", "%q is not a pull policy; use missing or never", s.Pull)
	}
}

var imageReference = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._:/@-]{0,254}$`)

func validImage(reference string) bool {
	return imageReference.MatchString(reference) && path.Clean(reference) == reference
}
