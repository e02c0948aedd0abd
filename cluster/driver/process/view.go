package process

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
)

// view is what a process sees as its files: a root directory, with directories and files of the node and volumes in it.
type view struct {
	root    string
	shared  []string // paths that lead to the node's own
	volumes []driver.Volume
}

// outside is where the file is that the process sees under a path without links.
func (v view) outside(inside string) string {
	for _, volume := range slices.Backward(v.volumes) { // the one that is mounted last is in sight
		if rest, below := strings.CutPrefix(inside, volume.Target); below && (rest == "" || rest[0] == '/') {
			return volume.Place.Directory + rest
		}
	}
	for _, shared := range v.shared {
		if inside == shared || strings.HasPrefix(inside, shared+"/") {
			return inside
		}
	}
	return v.root + inside
}

// leads says whether a directory is there only because something of the node is mounted below it.
func (v view) leads(inside string) bool {
	return slices.ContainsFunc(v.shared, func(shared string) bool { return strings.HasPrefix(shared, inside+"/") })
}

// look looks at a path without links before its end.
func (v view) look(inside string) (os.FileInfo, error) {
	info, err := os.Lstat(v.outside(inside))
	if missing(err) && v.leads(inside) {
		return os.Lstat(inside)
	}
	return info, err
}

// maxLinks is as many links as the kernel follows (path_resolution(7)).
const maxLinks = 40

// find follows a path, and the links on it, as the process would; real is where the file is.
func (v view) find(name string) (real string, info os.FileInfo, err error) {
	links, at := 0, "/"
	info, err = os.Lstat(v.outside(at))
	for rest := strings.Split(path.Clean(name), "/"); len(rest) > 0 && err == nil; {
		next := path.Join(at, rest[0])
		rest = rest[1:]
		if info, err = v.look(next); err != nil || info.Mode()&os.ModeSymlink == 0 {
			at = next
			continue
		}
		target, failed := os.Readlink(v.outside(next))
		if links++; failed != nil || links > maxLinks {
			return "", nil, fmt.Errorf("%w: %s leads nowhere", cluster.ErrInvalid, name)
		}
		if path.IsAbs(target) {
			at = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return v.outside(at), info, err
}

// file is where a regular file is; empty when there is none. An image may have anything in its place, such as a pipe that would keep
// its reader waiting.
func (v view) file(name string) string {
	real, info, err := v.find(name)
	if err != nil || !info.Mode().IsRegular() {
		return ""
	}
	return real
}

// directory looks whether a process can begin in a directory.
func (v view) directory(name string) error {
	_, info, err := v.find(name)
	switch {
	case missing(err):
		return fmt.Errorf("%w: the working directory %s is not there", cluster.ErrNotFound, name)
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%w: the working directory %s is a file", cluster.ErrInvalid, name)
	}
	return nil
}

// command looks whether a command can be executed, as execvp(3) would.
func (v view) command(name, directory, searched string) error {
	if strings.Contains(name, "/") {
		if !path.IsAbs(name) {
			name = path.Join(directory, name)
		}
		return v.executable(name)
	}
	for _, place := range strings.Split(searched, ":") {
		err := v.executable(path.Join("/", place, name))
		if err == nil || !missing(err) {
			return err
		}
	}
	return fmt.Errorf("%w: there is no command %s in %s", cluster.ErrNotFound, name, searched)
}

func (v view) executable(name string) error {
	_, info, err := v.find(name)
	switch {
	case missing(err):
		return fmt.Errorf("%w: there is no file %s: %w", cluster.ErrNotFound, name, os.ErrNotExist)
	case err != nil:
		return err
	case info.IsDir():
		return fmt.Errorf("%w: %s is a directory, not a program", cluster.ErrInvalid, name)
	case info.Mode()&0o111 == 0:
		return fmt.Errorf("%w: %s may not be executed; give it the permission (chmod +x)", cluster.ErrInvalid, name)
	}
	return nil
}
