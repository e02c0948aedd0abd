package blob

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/ciaocloud/ciao/cluster"
)

const sector = 512

// inspect finds out what a content is and that it is whole. A wanted format is what it must be.
func inspect(ctx context.Context, file io.ReaderAt, size int64, wanted cluster.ImageFormat) (format cluster.ImageFormat, disk int64, err error) {
	head := make([]byte, min(size, sector))
	if _, err := file.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return "", 0, err
	}
	format, err = sniff(head)
	if err != nil {
		return "", 0, err
	}
	if format == cluster.FormatTar {
		if format, err = inspectTar(ctx, io.NewSectionReader(file, 0, size)); err != nil {
			return "", 0, err
		}
	}
	if wanted == cluster.FormatRaw && (format == cluster.FormatTar || format == cluster.FormatDockerArchive) {
		format = cluster.FormatRaw
	}
	if wanted != "" && wanted != format && !(wanted == cluster.FormatTar && format == cluster.FormatDockerArchive) {
		return "", 0, fmt.Errorf("%w: the content is %s and not %s", cluster.ErrInvalid, format, wanted)
	}
	if wanted != "" {
		format = wanted
	}
	switch format {
	case cluster.FormatQcow2:
		disk, err = inspectQcow2(ctx, file, size)
	case cluster.FormatRaw:
		disk = size
		if size == 0 || size%sector != 0 {
			err = fmt.Errorf("%w: the content is none of qcow2, tar and docker-archive, and not a raw disk either: a disk has whole sectors of %d bytes, this has %d bytes (is it cut off?)", cluster.ErrInvalid, sector, size)
		}
	}
	return format, disk, err
}

// compressed are the first bytes of what must be unpacked before.
var compressed = []struct {
	magic   string
	command string
}{
	{"\x1f\x8b", "gunzip"}, {"\xfd7zXZ\x00", "unxz"}, {"\x28\xb5\x2f\xfd", "unzstd"}, {"BZh", "bunzip2"},
}

func sniff(head []byte) (cluster.ImageFormat, error) {
	for _, c := range compressed {
		if bytes.HasPrefix(head, []byte(c.magic)) {
			return "", fmt.Errorf("%w: the file is compressed: unpack it with %s first", cluster.ErrInvalid, c.command)
		}
	}
	switch {
	case bytes.HasPrefix(head, []byte(qcow2Magic)):
		return cluster.FormatQcow2, nil
	case len(head) == sector && string(head[257:262]) == "ustar":
		return cluster.FormatTar, nil
	}
	return cluster.FormatRaw, nil
}

// inspectTar looks at all headers of an archive to its end. One with a manifest.json at its top is what docker save writes.
func inspectTar(ctx context.Context, r io.ReadSeeker) (cluster.ImageFormat, error) {
	format := cluster.FormatTar
	archive := tar.NewReader(r) // which skips what is between them
	for {
		header, err := archive.Next()
		switch {
		case errors.Is(err, io.EOF):
			return format, ended(r)
		case err != nil:
			return "", fmt.Errorf("%w: the archive is damaged or cut off (%w); make it again", cluster.ErrInvalid, err)
		case ctx.Err() != nil:
			return "", context.Cause(ctx)
		case slices.Contains([]string{"manifest.json", "./manifest.json"}, header.Name):
			format = cluster.FormatDockerArchive
		}
	}
}

// ended wants the blocks of zeros that end an archive: one may have been cut between two of its files.
func ended(r io.ReadSeeker) error {
	last := make([]byte, sector)
	if _, err := r.Seek(-sector, io.SeekEnd); err != nil {
		return err
	}
	if _, err := io.ReadFull(r, last); err != nil {
		return err
	}
	if !bytes.Equal(last, make([]byte, sector)) {
		return fmt.Errorf("%w: the archive is cut off: it has no end; make it again", cluster.ErrInvalid)
	}
	return nil
}
