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
	if s.User != "" {
		problems.Add("user", "is for processes; a container runs as the user of its image")
	}
	if s.Directory != "" {
		problems.Add("directory", "is for processes; a container begins in the directory of its image")
	}
}

var imageReference = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._:/@-]{0,254}$`)

func validImage(reference string) bool {
	return imageReference.MatchString(reference) && path.Clean(reference) == reference
}
