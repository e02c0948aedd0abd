package cluster

import (
	"path"
	"regexp"
	"slices"
	"strings"
)

func (s WorkloadSpec) validateProcess(problems *Problems) {
	if len(s.Command) == 0 || s.Command[0] == "" {
		problems.Add("command", "a process needs a command, such as [sleep, 1h]")
	}
	if s.Image != "" && !validImage(s.Image) {
		problems.Add("image", "%q is not the name of an image; `ciao list images` shows them, and without one a process sees the programs of its node", s.Image)
	}
	if s.Pull != "" {
		problems.Add("pull", "is for containers")
	}
	if !processUser.MatchString(s.User) {
		problems.Add("user", "%q is neither the name of a user nor UID or UID:GID", s.User)
	}
	if user, _, _ := strings.Cut(s.User, ":"); !s.Privileged && slices.Contains([]string{"root", "0"}, user) {
		problems.Add("user", "only a privileged process runs as root; use another user, or set privileged: true")
	}
	if !cleanPath(s.Directory) {
		problems.Add("directory", "%q is not an absolute path without . and ..", s.Directory)
	}
}

// processUser is a name (useradd(8)), or numbers as the kernel has them.
var processUser = regexp.MustCompile(`^([a-z_][a-z0-9_-]{0,31}|(0|[1-9][0-9]{0,8})(:(0|[1-9][0-9]{0,8}))?)$`)

func cleanPath(name string) bool {
	return path.IsAbs(name) && path.Clean(name) == name && !strings.ContainsRune(name, 0) && len(name) <= 4096
}
