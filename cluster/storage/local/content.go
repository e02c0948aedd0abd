package local

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/storage"
)

// fillDisk makes a disk of at least the given size. An image was looked at when it was uploaded: it names no other files.
func (d *Driver) fillDisk(ctx context.Context, disk string, mib int64, origin storage.Origin) error {
	size := fmt.Sprintf("%dM", mib)
	switch {
	case origin.Volume != "":
		source, err := d.source(ctx, origin.Volume, cluster.ContentDisk)
		if err != nil {
			return err
		}
		if err := d.copyTree(ctx, source, disk); err != nil {
			return err
		}
	case origin.Image != nil && origin.Image.Format != cluster.FormatQcow2 && origin.Image.Format != cluster.FormatRaw:
		return fmt.Errorf("%w: a disk cannot begin as a copy of %s", cluster.ErrInvalid, origin.Image.Format)
	case origin.Image != nil:
		if err := d.run(ctx, "qemu-img", "convert", "-q", "-f", string(origin.Image.Format), "-O", "qcow2", "--", origin.Image.Path, disk); err != nil {
			return err
		}
	default:
		return d.run(ctx, "qemu-img", "create", "-q", "-f", "qcow2", "--", disk, size)
	}
	return d.run(ctx, "qemu-img", "resize", "-q", "-f", "qcow2", "--", disk, size)
}

// copyTree copies a file, or a directory with all that is in it, to a new name.
func (d *Driver) copyTree(ctx context.Context, from, to string) error {
	return d.run(ctx, "cp", "-a", "--reflink=auto", "--sparse=always", "-T", "--", from, to)
}

// run runs a program that is silent unless it fails. It ends with this process, however that ends, and has the directory's lock until then:
// who opens the directory next removes what it was making. The kernel ends it when the thread ends that started it (prctl(2),
// PR_SET_PDEATHSIG), so that is kept meanwhile.
func (d *Driver) run(ctx context.Context, program string, args ...string) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	command := exec.CommandContext(ctx, program, args...)
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	command.ExtraFiles = []*os.File{d.lock}
	command.WaitDelay = time.Second
	command.Env = append(os.Environ(), "LC_ALL=C")
	said, err := command.CombinedOutput()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, exec.ErrNotFound):
		return fmt.Errorf("%w: the node needs the program %s; install it (Debian: qemu-utils, coreutils)", cluster.ErrInvalid, program)
	case strings.Contains(string(said), "No space left on device"):
		return syscall.ENOSPC
	}
	return fmt.Errorf("%s: %w: %s", program, err, strings.TrimSpace(string(said)))
}

// unpack unpacks an archive below a directory. Nothing in it can lead out of that, and what is neither a file, a directory nor a link is
// left out: a device would be one of the node's.
func unpack(ctx context.Context, archive, directory string) error {
	file, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer file.Close()
	root, err := os.OpenRoot(directory)
	if err != nil {
		return err
	}
	defer root.Close()
	reader := tar.NewReader(file)
	for {
		header, err := reader.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("%w: the archive cannot be read: %w", cluster.ErrInvalid, err)
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		if err := unpackOne(root, header, reader); err != nil {
			return fmt.Errorf("unpack %q: %w", header.Name, err)
		}
	}
}

func unpackOne(root *os.Root, header *tar.Header, content io.Reader) error {
	name := strings.TrimPrefix(path.Clean("/"+header.Name), "/")
	if name == "" {
		return root.Chmod(".", header.FileInfo().Mode().Perm())
	}
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	var err error
	switch header.Typeflag {
	case tar.TypeDir:
		err = root.MkdirAll(name, 0o755)
	case tar.TypeReg:
		err = unpackFile(root, name, content)
	case tar.TypeSymlink:
		return errors.Join(root.Symlink(header.Linkname, name), root.Lchown(name, header.Uid, header.Gid))
	case tar.TypeLink:
		return root.Link(strings.TrimPrefix(path.Clean("/"+header.Linkname), "/"), name)
	default:
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(root.Lchown(name, header.Uid, header.Gid), root.Chmod(name, header.FileInfo().Mode()&(os.ModePerm|os.ModeSetuid|os.ModeSetgid|os.ModeSticky)))
}

func unpackFile(root *os.Root, name string, content io.Reader) error {
	if err := root.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err // a file that comes twice is the later one
	}
	file, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	return errors.Join(err, file.Close())
}

// classify gives a full disk its class.
func (d *Driver) classify(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: the disk of %s is full: free some space there, and try again", cluster.ErrNoCapacity, d.directory)
	}
	return err
}
