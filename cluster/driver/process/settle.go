package process

import (
	"cmp"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/moby/sys/user"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
)

// searchPath is where commands are looked for, unless the workload's environment says otherwise.
const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// settle finds out who the process will be, and that its command and directory are there: it is better told now than by an exit code.
func (d *Driver) settle(c carrier, instance driver.Instance) (description, error) {
	described := description{Instance: instance}
	v := view{root: c.file("root"), shared: d.shared(instance.Spec), volumes: instance.Volumes}
	spec := instance.Spec
	if err := described.identify(v); err != nil {
		return described, fmt.Errorf("instance %s: %w", instance.Name, err)
	}
	if err := ownVolumes(described); err != nil {
		return described, fmt.Errorf("instance %s: %w", instance.Name, err)
	}
	if err := v.directory(spec.Directory); err != nil {
		return described, fmt.Errorf("instance %s: %w", instance.Name, err)
	}
	if err := v.command(spec.Command[0], spec.Directory, cmp.Or(spec.Environment["PATH"], searchPath)); err != nil {
		return described, fmt.Errorf("instance %s: %w", instance.Name, err)
	}
	if spec.Image != "" {
		return described, nil
	}
	return described, os.Chown(v.root, int(described.UID), int(described.GID)) // the empty root is the user's own
}

// identify looks the user up in the process's own /etc/passwd and /etc/group.
func (d *description) identify(v view) error {
	found, err := user.GetExecUserPath(d.Spec.User, nil, v.file("/etc/passwd"), v.file("/etc/group"))
	if err != nil {
		return fmt.Errorf("%w: there is no user %s: use one of those in /etc/passwd, or a number", cluster.ErrInvalid, d.Spec.User)
	}
	if found.Uid == 0 && !d.Spec.Privileged {
		return fmt.Errorf("%w: user %s is root; only a privileged process runs as root", cluster.ErrPermission, d.Spec.User)
	}
	d.UID, d.GID, d.Home = uint32(found.Uid), uint32(found.Gid), found.Home
	if _, numeric := strconv.Atoi(strings.SplitN(d.Spec.User, ":", 2)[0]); numeric == nil && found.Gid == 0 && found.Uid != 0 {
		d.GID = d.UID // root's group is the library's default for a number without an entry
	}
	for _, group := range found.Sgids {
		d.Groups = append(d.Groups, uint32(group))
	}
	if _, info, err := v.find(d.Home); err != nil || !info.IsDir() {
		d.Home = "/"
	}
	return nil
}

// shared are the paths of the node that a process sees.
func (d *Driver) shared(spec cluster.WorkloadSpec) []string {
	if spec.Image != "" {
		return nil
	}
	var shared []string
	for _, name := range append(append(append([]string{}, programs...), files...), d.config.Paths...) {
		info, err := os.Lstat(name)
		if err != nil {
			continue
		}
		if info.Mode()&os.ModeSymlink != 0 && path.Dir(name) == "/" {
			continue // a link into /usr, which the root has, too
		}
		shared = append(shared, name)
	}
	return shared
}
