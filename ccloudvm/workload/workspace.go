package workload

import "github.com/ciaocloud/ciao/ccloudvm"

// Workspace is the data of the templates: facts about the user, the host and the instance.
// The spec document sees what is known before the machine is chosen; Mounts is empty there.
type Workspace struct {
	GoPath         string // the caller's GOPATH, if there is one
	Home           string // the caller's home directory on the host
	HTTPProxy      string // as the guest must write it; empty: none
	HTTPSProxy     string
	NoProxy        string
	User           string // the login made in the guest
	UID            int
	GID            int
	PublicKey      string // line for authorized_keys
	GitUserName    string // the caller's git configuration
	GitEmail       string
	Mounts         []Mount  // what the guest has to mount
	Synced         []Mount  // what is copied into the guest instead
	Hostname       string   // of the guest: the instance's name
	UUID           string   // of the machine
	PackageUpgrade bool     // upgrade the distribution's packages at the first boot
	HostIP         string   // the instance's address on the host, when it is a loopback one
	HTTPServerPort int      // where the guest finds the host's download cache, on 10.0.2.2; 0: none
	Packages       []string // of the workload, those that the image does not hold
	Checkout       string   // the ciao source tree that ccloudvm was called in, or that its program lies in; empty: none
}

// Mount is a share as a template sees it.
type Mount struct {
	ccloudvm.Mount
	Type    string // file system for mount(8)
	Options string // for mount(8) and fstab
}

// MountPath is the path of the share with the tag, or "" when there is none.
func (w Workspace) MountPath(tag string) string {
	for _, mounts := range [][]Mount{w.Mounts, w.Synced} {
		for _, m := range mounts {
			if m.Tag == tag {
				return m.Path
			}
		}
	}
	return ""
}
