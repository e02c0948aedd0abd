package blob

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/ciaocloud/ciao/cluster"
)

// The parts of a qcow2 image that are looked at (QEMU, docs/interop/qcow2.rst). All numbers are big-endian.
const (
	qcow2Magic = "QFI\xfb"

	qcow2HeaderBytes = 104 // of version 3; version 2 has 72

	incompatibleDataFile   = 1 << 2
	incompatibleExtendedL2 = 1 << 4
	incompatibleKnown      = 1<<0 | 1<<1 | incompatibleDataFile | 1<<3 | incompatibleExtendedL2 // dirty, corrupt, external data, compression, extended L2

	offsetMask      = 0x00fffffffffffe00 // of L1 and L2 entries: the place in the file
	compressedEntry = 1 << 62
)

// Bounds of what is read: a disk of 64 TiB with the usual clusters has an L1 table of 1 MiB.
const (
	minClusterBits = 9
	maxClusterBits = 21
	maxL1Entries   = 32 << 20 / 8 // as QEMU bounds it
)

type qcow2Header struct {
	version      uint32
	backing      uint64
	clusterBits  uint32
	disk         uint64
	encryption   uint32
	l1Entries    uint32
	l1           uint64
	refcounts    uint64
	incompatible uint64
}

// inspectQcow2 refuses a disk that names other files (a backing file, a data file): it could name any file of the node. It also refuses
// one whose tables or data lie beyond its end: it was cut off.
func inspectQcow2(ctx context.Context, file io.ReaderAt, size int64) (disk int64, err error) {
	header, err := readQcow2(file, size)
	if err != nil {
		return 0, err
	}
	if err := header.check(size); err != nil {
		return 0, err
	}
	walk := qcow2Walk{ctx: ctx, file: file, size: uint64(size), header: header}
	return int64(header.disk), walk.tables()
}

func readQcow2(file io.ReaderAt, size int64) (h qcow2Header, err error) {
	head := make([]byte, qcow2HeaderBytes)
	if n, err := file.ReadAt(head, 0); n < 72 {
		return h, fmt.Errorf("%w: the qcow2 disk is cut off: it has %d bytes, which is not even a header (%w)", cluster.ErrInvalid, size, err)
	}
	order := binary.BigEndian
	h = qcow2Header{
		version: order.Uint32(head[4:]), backing: order.Uint64(head[8:]), clusterBits: order.Uint32(head[20:]), disk: order.Uint64(head[24:]),
		encryption: order.Uint32(head[32:]), l1Entries: order.Uint32(head[36:]), l1: order.Uint64(head[40:]), refcounts: order.Uint64(head[48:]),
	}
	if h.version >= 3 {
		h.incompatible = order.Uint64(head[72:])
	}
	return h, nil
}

func (h qcow2Header) check(size int64) error {
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("%w: the qcow2 disk "+format, append([]any{cluster.ErrInvalid}, args...)...)
	}
	switch {
	case h.version != 2 && h.version != 3:
		return refuse("is of version %d, which is not known; convert it with `qemu-img convert -O qcow2`", h.version)
	case h.backing != 0:
		return refuse("is an overlay of another file, which nobody but you has; make it whole with `qemu-img convert -O qcow2`")
	case h.incompatible&incompatibleDataFile != 0:
		return refuse("keeps its data in another file; make it whole with `qemu-img convert -O qcow2`")
	case h.encryption != 0:
		return refuse("is encrypted; decrypt it with `qemu-img convert -O qcow2`")
	case h.incompatible&^incompatibleKnown != 0:
		return refuse("needs features that are not known; convert it with `qemu-img convert -O qcow2`")
	case h.clusterBits < minClusterBits || h.clusterBits > maxClusterBits || h.l1Entries > maxL1Entries || h.disk == 0 || h.disk > 1<<56:
		return refuse("is damaged: its header makes no sense")
	case h.l1+uint64(h.l1Entries)*8 > uint64(size) || h.l1 > uint64(size) || h.refcounts >= uint64(size):
		return refuse("is cut off: its tables lie beyond its end of %d bytes; copy it again", size)
	}
	return nil
}

// qcow2Walk looks at every place that the tables name.
type qcow2Walk struct {
	ctx    context.Context //nolint:containedctx // of one walk
	file   io.ReaderAt
	size   uint64
	header qcow2Header
}

func (w *qcow2Walk) tables() error {
	entries := make([]byte, int(w.header.l1Entries)*8)
	if _, err := w.file.ReadAt(entries, int64(w.header.l1)); err != nil && len(entries) > 0 {
		return fmt.Errorf("read the qcow2 disk: %w", err)
	}
	whole := uint64(1) << w.header.clusterBits
	table := make([]byte, whole)
	left := w.size / whole // each has a table of its own, so that looking at all takes no longer than reading the file
	for at := 0; at < len(entries); at += 8 {
		place := binary.BigEndian.Uint64(entries[at:]) & offsetMask
		if place == 0 {
			continue
		}
		if w.ctx.Err() != nil {
			return context.Cause(w.ctx)
		}
		if left == 0 {
			return fmt.Errorf("%w: the qcow2 disk is damaged: it has more tables than it has room for", cluster.ErrInvalid)
		}
		left--
		if place > w.size || place+whole > w.size {
			return w.cutOff(place + whole)
		}
		if _, err := w.file.ReadAt(table, int64(place)); err != nil {
			return fmt.Errorf("read the qcow2 disk: %w", err)
		}
		if err := w.data(table); err != nil {
			return err
		}
	}
	return nil
}

// data looks at the entries of one L2 table. The last cluster of a file may end early: QEMU writes no more than there is.
func (w *qcow2Walk) data(table []byte) error {
	step := 8
	if w.header.incompatible&incompatibleExtendedL2 != 0 {
		step = 16
	}
	for at := 0; at < len(table); at += step {
		entry := binary.BigEndian.Uint64(table[at:])
		place := entry & offsetMask
		if entry&compressedEntry != 0 {
			place = entry & (1<<(62-(w.header.clusterBits-8)) - 1)
		}
		if place != 0 && place >= w.size {
			return w.cutOff(place)
		}
	}
	return nil
}

func (w *qcow2Walk) cutOff(needed uint64) error {
	return fmt.Errorf("%w: the qcow2 disk is cut off: it has %d bytes and needs at least %d; copy it again", cluster.ErrInvalid, w.size, needed)
}
