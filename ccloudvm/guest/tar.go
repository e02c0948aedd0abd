package guest

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// pack writes source, and everything below it, as one tar entry named entry. A symbolic link is followed at the top and kept below.
func pack(w io.Writer, source string) error {
	top, err := filepath.EvalSymlinks(source)
	if err != nil {
		return err
	}
	t := tar.NewWriter(w)
	err = filepath.WalkDir(top, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		below, err := filepath.Rel(top, name)
		if err != nil {
			return err
		}
		return packOne(t, name, path.Join(entry, filepath.ToSlash(below)), d)
	})
	return errors.Join(err, t.Close())
}

func packOne(t *tar.Writer, name, inside string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	var link string
	if info.Mode()&fs.ModeSymlink != 0 {
		if link, err = os.Readlink(name); err != nil {
			return err
		}
	}
	if info.Mode()&(fs.ModeSocket|fs.ModeDevice|fs.ModeNamedPipe|fs.ModeIrregular) != 0 {
		return nil // nothing that could be copied
	}
	h, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err
	}
	h.Name, h.Format = inside, tar.FormatPAX
	h.Uid, h.Gid, h.Uname, h.Gname = 0, 0, "", "" // the guest's user becomes the owner
	h.AccessTime, h.ChangeTime = time.Time{}, time.Time{}
	if err := t.WriteHeader(h); err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return nil
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.CopyN(t, f, h.Size); err != nil {
		return fmt.Errorf("%s changed while it was copied: %w", name, err)
	}
	return nil
}

// unpack reads a tar stream with one entry and puts it at destination, or into it under name where it is a directory. It unpacks
// beside the destination and renames. os.Root keeps a hostile stream inside.
func unpack(r io.Reader, destination, name string) error {
	final := destination
	if final == "" {
		final = "."
	}
	if info, err := os.Stat(final); err == nil && info.IsDir() {
		final = filepath.Join(final, name)
	} else if strings.HasSuffix(destination, "/") {
		return fmt.Errorf("%s: no such directory", destination)
	}
	beside := filepath.Dir(final)
	if err := os.MkdirAll(beside, 0o777); err != nil {
		return err
	}
	temporary, err := os.MkdirTemp(beside, ".copy-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temporary)
	if err := extract(r, temporary); err != nil {
		return err
	}
	return settle(filepath.Join(temporary, entry), final)
}

// settle moves what was unpacked into place; a directory that exists is filled.
func settle(from, to string) error {
	source, err := os.Lstat(from)
	if err != nil {
		return errors.New("the guest sent nothing")
	}
	target, err := os.Lstat(to)
	if err != nil || !target.IsDir() {
		if err == nil && source.IsDir() {
			return fmt.Errorf("%s exists and is not a directory", to)
		}
		return os.Rename(from, to)
	}
	if !source.IsDir() {
		return fmt.Errorf("%s is a directory", to)
	}
	children, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, c := range children {
		if err := settle(filepath.Join(from, c.Name()), filepath.Join(to, c.Name())); err != nil {
			return err
		}
	}
	return os.Chmod(to, source.Mode().Perm())
}

func extract(r io.Reader, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	var directories []*tar.Header // get their mode and time last, lest they refuse their content
	t := tar.NewReader(r)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if top, _, _ := strings.Cut(h.Name, "/"); top != entry {
			return fmt.Errorf("the guest sent %q, which was not asked for", h.Name)
		}
		if err := extractOne(root, t, h); err != nil {
			return err
		}
		if h.Typeflag == tar.TypeDir {
			directories = append(directories, h)
		}
	}
	for i := len(directories) - 1; i >= 0; i-- {
		h := directories[i]
		err := errors.Join(root.Chmod(clean(h.Name), h.FileInfo().Mode().Perm()), root.Chtimes(clean(h.Name), h.ModTime, h.ModTime))
		if err != nil {
			return err
		}
	}
	// Drain the padding, so that the sender ends well.
	_, err = io.Copy(io.Discard, r)
	return err
}

func clean(name string) string { return path.Clean(name) }

func extractOne(root *os.Root, t *tar.Reader, h *tar.Header) error {
	name := clean(h.Name)
	switch h.Typeflag {
	case tar.TypeDir:
		return root.MkdirAll(name, 0o700)
	case tar.TypeSymlink:
		return root.Symlink(h.Linkname, name)
	case tar.TypeLink:
		return root.Link(clean(h.Linkname), name)
	case tar.TypeReg:
		return extractFile(root, t, h, name)
	}
	return nil // sockets, pipes and devices are not copied
}

func extractFile(root *os.Root, t *tar.Reader, h *tar.Header, name string) error {
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, t)
	if err := errors.Join(err, f.Chmod(h.FileInfo().Mode().Perm()), f.Close()); err != nil {
		return err
	}
	return root.Chtimes(name, h.ModTime, h.ModTime)
}
