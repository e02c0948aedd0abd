package process

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
)

// programs are where a node has its programs and libraries: directories, or links into /usr.
var programs = []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"}

// files are what programs need of /etc: no file in it is secret, and none says what the node is for.
var files = []string{
	"/etc/alternatives", "/etc/ca-certificates", "/etc/ca-certificates.conf", "/etc/debian_version", "/etc/group", "/etc/host.conf",
	"/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime", "/etc/mime.types", "/etc/nsswitch.conf", "/etc/os-release",
	"/etc/passwd", "/etc/pki/tls/certs", "/etc/protocols", "/etc/services", "/etc/shells", "/etc/ssl/certs", "/etc/ssl/openssl.cnf",
	"/etc/terminfo", "/etc/timezone",
}

// places are the directories of an empty root.
var places = []string{"/dev", "/etc", "/home", "/opt", "/proc", "/run", "/sys", "/tmp", "/var/tmp"}

// furnish makes the root directory, whole or not at all; one that is there is kept.
func (d *Driver) furnish(ctx context.Context, c carrier, instance driver.Instance, progress func(step, message string)) error {
	root, unfinished := c.file("root"), c.file("root.new")
	if c.has("root") {
		return nil
	}
	if err := os.RemoveAll(unfinished); err != nil {
		return fmt.Errorf("make the root directory of instance %s: %w", c.id, err)
	}
	if err := os.Mkdir(unfinished, 0o755); err != nil {
		return fmt.Errorf("make the root directory of instance %s: %w", c.id, err)
	}
	fill := empty
	if name := instance.Spec.Image; name != "" {
		if instance.Image == nil {
			return fmt.Errorf("%w: there is no image %s; `ciao create image %s --file FILE` uploads a tar archive of a file system", cluster.ErrNotFound, name, name)
		}
		progress("unpack", "unpacking the image "+name)
		fill = func(root string) error { return unpack(ctx, *instance.Image, root) }
	}
	if err := fill(unfinished); err != nil {
		return fmt.Errorf("make the root directory of instance %s: %w", c.id, err)
	}
	return os.Rename(unfinished, root)
}

// empty makes the root directory of a process without an image. What it sees of the node is mounted at its start.
func empty(root string) error {
	for _, place := range places {
		if err := os.MkdirAll(root+place, 0o755); err != nil {
			return err
		}
	}
	for _, shared := range []string{"/var/tmp", "/home", "/tmp", "/run"} { // whoever the process runs as; what is mounted there takes the mode over
		if err := os.Chmod(root+shared, 0o1777); err != nil {
			return err
		}
	}
	for _, program := range programs {
		target, err := os.Readlink(program)
		if err != nil {
			continue // a directory, or nothing
		}
		if err := os.Symlink(target, root+program); err != nil {
			return err
		}
	}
	return nil
}

// unpack fills the root directory from an archive; tar(1) lets nothing out of it.
func unpack(ctx context.Context, image driver.Image, root string) error {
	if !image.Format.Suits(cluster.KindProcess) {
		return fmt.Errorf("%w: image %s is of format %s; a process needs a tar archive", cluster.ErrInvalid, image.Name, image.Format)
	}
	command := exec.CommandContext(ctx, "tar", "--extract", "--preserve-permissions", "--numeric-owner", "--file", image.Path, "--directory", root)
	var words strings.Builder
	command.Stderr = &words
	if err := command.Run(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		class := cluster.ErrInvalid
		if strings.Contains(words.String(), "No space left") {
			class = cluster.ErrNoCapacity
		}
		first, _, _ := strings.Cut(strings.TrimSpace(words.String()), "\n")
		return fmt.Errorf("%w: the image %s cannot be unpacked: %s (%w)", class, image.Name, first, err)
	}
	inside, err := os.OpenRoot(root) // the archive may have links in these places
	if err != nil {
		return err
	}
	defer inside.Close()
	for _, place := range []string{"dev", "proc", "sys", "etc"} { // that much the runtime needs
		if err := inside.MkdirAll(place, 0o755); err != nil {
			return fmt.Errorf("%w: the image %s is not a root directory: %w", cluster.ErrInvalid, image.Name, err)
		}
	}
	return nil
}
