package blob

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/ciaocloud/ciao/cluster"
)

const upload = "33333333-3333-4333-8333-333333333333"

func open(t *testing.T) *Store {
	t.Helper()
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func appendAll(t *testing.T, s *Store, data []byte) {
	t.Helper()
	if _, err := s.Append(upload, 0, int64(len(data)), bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
}

// archive is a tar with the given files.
func archive(t *testing.T, files ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, name := range files {
		content := strings.Repeat(name, 300)
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, content)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// qcow2 is a disk of 1 MiB with clusters of 64 KiB, of which the first has data; change edits it.
func qcow2(change func(disk []byte)) []byte {
	const whole = 1 << 16
	disk := make([]byte, 6*whole) // header, refcount table, refcount block, L1, L2, data
	order := binary.BigEndian
	copy(disk, qcow2Magic)
	order.PutUint32(disk[4:], 3)
	order.PutUint32(disk[20:], 16)
	order.PutUint64(disk[24:], 1<<20)
	order.PutUint32(disk[36:], 1)
	order.PutUint64(disk[40:], 3*whole)
	order.PutUint64(disk[48:], 1*whole)
	order.PutUint32(disk[56:], 1)
	order.PutUint32(disk[100:], 104)
	order.PutUint64(disk[3*whole:], 1<<63|4*whole)
	order.PutUint64(disk[4*whole:], 1<<63|5*whole)
	if change != nil {
		change(disk)
	}
	return disk
}

func TestCompleteFindsOutWhatAContentIs(t *testing.T) {
	tests := []struct {
		name   string
		data   []byte
		format cluster.ImageFormat // wanted
		want   cluster.ImageFormat
		disk   int64
	}{
		{"qcow2", qcow2(nil), "", cluster.FormatQcow2, 1 << 20},
		{"raw", make([]byte, 4096), "", cluster.FormatRaw, 4096},
		{"tar", archive(t, "bin/sh", "etc/passwd"), "", cluster.FormatTar, 0},
		{"docker save", archive(t, "a/layer.tar", "manifest.json"), "", cluster.FormatDockerArchive, 0},
		{"docker save as a file system", archive(t, "a/layer.tar", "manifest.json"), cluster.FormatTar, cluster.FormatTar, 0},
		{"a disk that looks like a tar", archive(t, "a"), cluster.FormatRaw, cluster.FormatRaw, int64(len(archive(t, "a")))},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := open(t)
			appendAll(t, s, test.data)
			got, err := s.Complete(t.Context(), upload, digestOf(test.data), test.format)
			if err != nil {
				t.Fatal(err)
			}
			want := cluster.ImageContent{ID: upload, Digest: digestOf(test.data), Format: test.want, Bytes: int64(len(test.data)), DiskBytes: test.disk}
			if got != want {
				t.Errorf("found %+v, want %+v", got, want)
			}
			content, err := s.Open(got.Digest)
			if err != nil {
				t.Fatal(err)
			}
			defer content.Close()
			if read, err := io.ReadAll(content); err != nil || !bytes.Equal(read, test.data) {
				t.Errorf("the blob has %d bytes (%v), want what was uploaded", len(read), err)
			}
		})
	}
}

func TestCompleteRefusesWhatIsNotWhole(t *testing.T) {
	const whole = 1 << 16
	put := func(at int, value uint64) func([]byte) {
		return func(d []byte) { binary.BigEndian.PutUint64(d[at:], value) }
	}
	two := archive(t, "one", "two")
	tests := []struct {
		name   string
		data   []byte
		format cluster.ImageFormat
		digest string
		says   string
	}{
		{"another digest", make([]byte, 512), "", digestOf([]byte("x")), "the digest is sha256:"},
		{"overlay", qcow2(put(8, 512)), "", "", "overlay of another file"},
		{"data file", qcow2(put(72, incompatibleDataFile)), "", "", "keeps its data in another file"},
		{"unknown feature", qcow2(put(72, 1<<40)), "", "", "features that are not known"},
		{"encrypted", qcow2(func(d []byte) { d[35] = 1 }), "", "", "is encrypted"},
		{"future version", qcow2(func(d []byte) { d[7] = 9 }), "", "", "of version 9"},
		{"half a header", qcow2(nil)[:40], "", "", "cut off"},
		{"header alone", qcow2(nil)[:512], "", "", "cut off"},
		{"without the data", qcow2(nil)[:5*whole], "", "", "needs at least"},
		{"without the L2 table", qcow2(nil)[:4*whole+512], "", "", "needs at least"},
		{"tables beyond everything", qcow2(put(40, 1<<63)), "", "", "cut off"},
		{"L1 table beyond bounds", qcow2(func(d []byte) { binary.BigEndian.PutUint32(d[36:], 1<<31) }), "", "", "makes no sense"},
		{"cluster of a byte", qcow2(func(d []byte) { d[23] = 0 }), "", "", "makes no sense"},
		{"tar cut in a file", two[:700], "", "", "cut off"},
		{"tar cut between files", two[:512+1024], "", "", "it has no end"},
		{"compressed", append([]byte("\x1f\x8b\x08"), make([]byte, 600)...), "", "", "gunzip"},
		{"text", []byte("<html>404</html>"), "", "", "whole sectors"},
		{"tar for a disk", archive(t, "a"), cluster.FormatQcow2, "", "is tar and not qcow2"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := open(t)
			appendAll(t, s, test.data)
			_, err := s.Complete(t.Context(), upload, test.digest, test.format)
			if !errors.Is(err, cluster.ErrInvalid) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("refused with %v, want %q", err, test.says)
			}
			if left := s.Uploaded(upload); left != 0 {
				t.Errorf("%d bytes of it are left", left)
			}
			if _, err := s.Open(digestOf(test.data)); !errors.Is(err, cluster.ErrNotFound) {
				t.Errorf("it became a blob: %v", err)
			}
		})
	}
}

func TestUploadGoesOnWhereItBrokeOff(t *testing.T) {
	data := archive(t, "one", "two", "three")
	size := int64(len(data))
	for _, restarted := range []bool{false, true} {
		s := open(t)
		cut := errors.New("the line broke")
		n, err := s.Append(upload, 0, size, io.MultiReader(bytes.NewReader(data[:700]), iotest.ErrReader(cut)))
		if !errors.Is(err, cut) || n != 700 || s.Uploaded(upload) != 700 {
			t.Fatalf("%d bytes and %v, want 700 and the broken line", n, err)
		}
		if restarted {
			if s, err = Open(s.directory); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Append(upload, 0, size, bytes.NewReader(data)); !errors.Is(err, cluster.ErrConflict) || !strings.Contains(err.Error(), "700 bytes") {
			t.Errorf("from another offset: %v, want a conflict that says where to go on", err)
		}
		if _, err := s.Append(upload, 700, size, bytes.NewReader(data[700:1000])); err != nil {
			t.Fatal(err)
		}
		if n, err := s.Append(upload, 1000, size, bytes.NewReader(data[1000:])); err != nil || n != size {
			t.Fatalf("%d bytes and %v", n, err)
		}
		if _, err := s.Complete(t.Context(), upload, digestOf(data), ""); err != nil {
			t.Error(err)
		}
	}
}

func TestUploadTakesNoMoreThanWasAnnounced(t *testing.T) {
	s := open(t)
	n, err := s.Append(upload, 0, 512, bytes.NewReader(make([]byte, 513)))
	if !errors.Is(err, cluster.ErrInvalid) || n != 512 {
		t.Errorf("%d bytes and %v, want 512 and a refusal", n, err)
	}
}

func TestOneUploadAtATime(t *testing.T) {
	s := open(t)
	r, w := io.Pipe()
	done := make(chan error)
	go func() {
		_, err := s.Append(upload, 0, 1024, r)
		done <- err
	}()
	w.Write(make([]byte, 512)) // it has begun
	if _, err := s.Append(upload, 512, 1024, bytes.NewReader(nil)); !errors.Is(err, cluster.ErrConflict) {
		t.Errorf("a second upload: %v, want a conflict", err)
	}
	if err := s.Discard(upload); !errors.Is(err, cluster.ErrConflict) {
		t.Errorf("discarded under the upload: %v", err)
	}
	w.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := s.Discard(upload); err != nil || s.Uploaded(upload) != 0 {
		t.Errorf("discard: %v, %d bytes left", err, s.Uploaded(upload))
	}
}

func TestSweepKeepsWhatIsNeeded(t *testing.T) {
	s := open(t)
	kept, lost := make([]byte, 512), make([]byte, 1024)
	for _, data := range [][]byte{kept, lost} {
		appendAll(t, s, data)
		if _, err := s.Complete(t.Context(), upload, "", ""); err != nil {
			t.Fatal(err)
		}
	}
	appendAll(t, s, []byte("half an upload"))
	other := strings.Replace(upload, "3", "4", 1)
	if _, err := s.Append(other, 0, 100, strings.NewReader("another")); err != nil {
		t.Fatal(err)
	}
	err := s.Sweep(func(digest string) bool { return digest == digestOf(kept) }, func(id string) bool { return id == other })
	if err != nil {
		t.Fatal(err)
	}
	if content, err := s.Open(digestOf(kept)); err != nil {
		t.Error("what is needed was swept away:", err)
	} else {
		content.Close()
	}
	if _, err := s.Open(digestOf(lost)); !errors.Is(err, cluster.ErrNotFound) {
		t.Error("a blob that nobody needs is still there:", err)
	}
	if s.Uploaded(upload) != 0 || s.Uploaded(other) == 0 {
		t.Errorf("%d bytes of the upload that nobody wants and %d of the other", s.Uploaded(upload), s.Uploaded(other))
	}
}

func TestCompleteEndsWithItsContext(t *testing.T) {
	s := open(t)
	appendAll(t, s, archive(t, "one"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Complete(ctx, upload, "", ""); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want its end", err)
	}
	if s.Uploaded(upload) == 0 {
		t.Error("the upload is lost")
	}
}

func TestNamesLeadNowhereElse(t *testing.T) {
	s := open(t)
	for _, name := range []string{"", "../blobs/x", "sha256:../../etc/passwd"} {
		if _, err := s.Append(name, 0, 1, strings.NewReader("x")); !errors.Is(err, cluster.ErrInvalid) {
			t.Errorf("upload %q: %v", name, err)
		}
		if _, err := s.Open(name); !errors.Is(err, cluster.ErrInvalid) {
			t.Errorf("blob %q: %v", name, err)
		}
	}
}

// FuzzInspect looks at contents of strangers: nothing may be taken for a disk that names other files, and nothing may panic.
func FuzzInspect(f *testing.F) {
	f.Add(qcow2(nil)[:4096])
	f.Add([]byte("ustar"))
	f.Fuzz(func(t *testing.T, data []byte) {
		format, disk, err := inspect(t.Context(), bytes.NewReader(data), int64(len(data)), "")
		if err != nil {
			if !errors.Is(err, cluster.ErrInvalid) && !errors.Is(err, io.EOF) {
				t.Errorf("refused with an error of no class: %v", err)
			}
			return
		}
		if format == cluster.FormatQcow2 && (disk <= 0 || binary.BigEndian.Uint64(data[8:]) != 0) {
			t.Errorf("took a disk of %d bytes with the backing file at %d", disk, binary.BigEndian.Uint64(data[8:]))
		}
	})
}

func TestManyNamesOfOneTableAreRefused(t *testing.T) {
	s := open(t)
	appendAll(t, s, qcow2(func(disk []byte) {
		binary.BigEndian.PutUint32(disk[36:], 100)
		for i := range 100 {
			binary.BigEndian.PutUint64(disk[3<<16+8*i:], 4<<16)
		}
	}))
	if _, err := s.Complete(t.Context(), upload, "", ""); !errors.Is(err, cluster.ErrInvalid) || !strings.Contains(err.Error(), "more tables") {
		t.Errorf("%v, want a refusal", err)
	}
}
