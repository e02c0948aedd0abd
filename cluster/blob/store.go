package blob

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/ciaocloud/ciao/cluster"
)

// Store is a directory of blobs. It may be used from many goroutines.
type Store struct {
	// Reserve is how many bytes of the disk uploads leave free, for others. It is set before the store is used.
	Reserve int64

	directory string

	mu   sync.Mutex
	busy map[string]bool // uploads that somebody appends to
	sums map[string]sum  // of uploads that this process has seen from their beginning
}

// sum is the digest of the first bytes of an upload.
type sum struct {
	hash.Hash
	size int64
}

// Open returns the store in a directory, which is made when it is not there.
func Open(directory string) (*Store, error) {
	for _, part := range []string{"blobs", "uploads"} {
		if err := os.MkdirAll(filepath.Join(directory, part), 0o700); err != nil {
			return nil, fmt.Errorf("make the directory of images: %w", err)
		}
	}
	return &Store{directory: directory, busy: map[string]bool{}, sums: map[string]sum{}}, nil
}

// Uploaded is how many bytes of an upload are there.
func (s *Store) Uploaded(id string) int64 {
	info, err := os.Stat(s.upload(id))
	if err != nil {
		return 0
	}
	return info.Size()
}

// Free is how many bytes the directory's file system has left for uploads.
func (s *Store) Free() (int64, error) {
	var stat syscall.Statfs_t
	if err := syscall.Statfs(s.directory, &stat); err != nil {
		return 0, fmt.Errorf("look for room for images: %w", err)
	}
	return max(0, int64(stat.Bavail)*stat.Bsize-s.Reserve), nil
}

// sparing writes to a file as long as the disk has more room than is to be left there.
type sparing struct {
	*os.File
	store *Store
}

func (w sparing) Write(data []byte) (int, error) {
	if free, err := w.store.Free(); err != nil || free < int64(len(data)) {
		return 0, errors.Join(err, syscall.ENOSPC)
	}
	return w.File.Write(data)
}

// Append adds what r gives to an upload, from offset on, which must be its end; at most until it has limit bytes. What arrived before
// an error stays, but for a full disk (ErrNoCapacity): others need the room. ErrConflict: another one is under way, or the offset is not its
// end.
func (s *Store) Append(id string, offset, limit int64, r io.Reader) (size int64, err error) {
	leave, err := s.enter(id)
	if err != nil {
		return 0, err
	}
	defer leave()
	file, err := os.OpenFile(s.upload(id), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return 0, fmt.Errorf("open the upload: %w", s.full(err))
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	size, err = file.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	if offset != size {
		return size, fmt.Errorf("%w: %d bytes of the content are here: go on from there", cluster.ErrConflict, size)
	}
	content := io.LimitReader(r, limit-size)
	running := s.sumOf(id, size)
	if running != nil {
		content = io.TeeReader(content, running)
	}
	n, err := io.Copy(struct{ io.Writer }{sparing{file, s}}, content)
	if isFull(err) {
		return size, s.giveBack(file, size, err)
	}
	size += n
	if err != nil { // more may have been digested than was written
		return size, err
	}
	s.keepSum(id, sum{running, size})
	if more, _ := r.Read(make([]byte, 1)); more > 0 {
		return size, fmt.Errorf("%w: there is more than the %d bytes that were announced", cluster.ErrInvalid, limit)
	}
	return size, s.full(file.Sync())
}

// giveBack takes an upload back to the size that it had.
func (s *Store) giveBack(file *os.File, size int64, err error) error {
	if size == 0 {
		return errors.Join(s.full(err), os.Remove(file.Name()))
	}
	return errors.Join(s.full(err), file.Truncate(size))
}

// Complete checks an upload that is whole and makes it a blob. want and format may be empty: any digest, any format. ErrInvalid: the
// content is not what it should be; the upload is discarded then.
func (s *Store) Complete(ctx context.Context, id, want string, format cluster.ImageFormat) (cluster.ImageContent, error) {
	leave, err := s.enter(id)
	if err != nil {
		return cluster.ImageContent{}, err
	}
	defer leave()
	content, err := s.check(ctx, id, want, format)
	if errors.Is(err, cluster.ErrInvalid) {
		return content, errors.Join(err, os.Remove(s.upload(id)))
	}
	if err != nil {
		return content, err
	}
	if err := os.Rename(s.upload(id), s.blob(content.Digest)); err != nil {
		return content, fmt.Errorf("keep the content: %w", err)
	}
	// After the rename: an upload that nobody may write to could not be gone on with.
	return content, errors.Join(os.Chmod(s.blob(content.Digest), 0o400), syncDirectory(filepath.Join(s.directory, "blobs")))
}

func (s *Store) check(ctx context.Context, id, want string, format cluster.ImageFormat) (cluster.ImageContent, error) {
	file, err := os.Open(s.upload(id))
	if err != nil {
		return cluster.ImageContent{}, fmt.Errorf("open the upload: %w", err)
	}
	defer file.Close()
	digest, size, err := s.digest(ctx, id, file)
	if err != nil {
		return cluster.ImageContent{}, err
	}
	content := cluster.ImageContent{ID: id, Digest: digest, Bytes: size}
	if want != "" && content.Digest != want {
		return content, fmt.Errorf("%w: the digest is %s and not %s: the file was damaged on its way, or it is another one; upload it again", cluster.ErrInvalid, content.Digest, want)
	}
	content.Format, content.DiskBytes, err = inspect(ctx, file, size, format)
	return content, err
}

// digest reads an upload only where this process has not digested it while it came.
func (s *Store) digest(ctx context.Context, id string, file *os.File) (digest string, size int64, err error) {
	info, err := file.Stat()
	if err != nil {
		return "", 0, err
	}
	s.mu.Lock()
	known := s.sums[id]
	delete(s.sums, id)
	s.mu.Unlock()
	if known.Hash == nil || known.size != info.Size() {
		known.Hash = sha256.New()
		if _, err := io.Copy(known, reading{ctx, file}); err != nil {
			return "", 0, err
		}
	}
	return "sha256:" + hex.EncodeToString(known.Sum(nil)), info.Size(), nil
}

// sumOf is the digest of the first size bytes of an upload, to be gone on with; of no use if they were not seen.
func (s *Store) sumOf(id string, size int64) hash.Hash {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.sums[id]
	delete(s.sums, id)
	if size == 0 {
		return sha256.New()
	}
	if known.size != size {
		return nil
	}
	return known.Hash
}

func (s *Store) keepSum(id string, known sum) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sums[id] = known
}

// Discard forgets an upload.
func (s *Store) Discard(id string) error {
	leave, err := s.enter(id)
	if err != nil {
		return err
	}
	defer leave()
	s.sumOf(id, 0)
	return ignoreAbsent(os.Remove(s.upload(id)))
}

// Open opens a blob for reading.
func (s *Store) Open(digest string) (io.ReadSeekCloser, error) {
	if !cluster.ValidDigest(digest) {
		return nil, fmt.Errorf("blob %q: %w: it is not a digest", digest, cluster.ErrInvalid)
	}
	file, err := os.Open(s.blob(digest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("blob %s: %w: it is not on this controller", digest, cluster.ErrNotFound)
	}
	return file, err
}

// Sweep removes every blob and upload that is not to be kept.
func (s *Store) Sweep(keepBlob, keepUpload func(string) bool) error {
	return errors.Join(
		s.sweep("blobs", func(name string) bool { return keepBlob("sha256:" + name) }),
		s.sweep("uploads", keepUpload))
}

func (s *Store) sweep(part string, keep func(name string) bool) error {
	entries, err := os.ReadDir(filepath.Join(s.directory, part))
	if err != nil {
		return fmt.Errorf("look for contents of images that are gone: %w", err)
	}
	var problems []error
	for _, entry := range entries {
		if !keep(entry.Name()) {
			problems = append(problems, ignoreAbsent(os.Remove(filepath.Join(s.directory, part, entry.Name()))))
		}
	}
	return errors.Join(problems...)
}

// enter lets one caller at a time work on an upload.
func (s *Store) enter(id string) (leave func(), err error) {
	if !cluster.ValidID(id) {
		return nil, fmt.Errorf("upload %q: %w: it is not an id", id, cluster.ErrInvalid)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy[id] {
		return nil, fmt.Errorf("%w: somebody is uploading it; wait until that has ended", cluster.ErrConflict)
	}
	s.busy[id] = true
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.busy, id)
	}, nil
}

func (s *Store) upload(id string) string { return filepath.Join(s.directory, "uploads", id) }

func (s *Store) blob(digest string) string {
	return filepath.Join(s.directory, "blobs", strings.TrimPrefix(digest, "sha256:"))
}

func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// full gives a full disk its class.
func (s *Store) full(err error) error {
	if isFull(err) {
		return fmt.Errorf("%w: the controller's disk, of %s, has no room for more of it: have some made there, and upload it again", cluster.ErrNoCapacity, s.directory)
	}
	return err
}

func ignoreAbsent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// syncDirectory makes a rename last.
func syncDirectory(name string) error {
	directory, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(directory.Sync(), directory.Close())
}

// reading is a reader that ends with a context.
type reading struct {
	ctx context.Context //nolint:containedctx // io.Reader has no place for it
	r   io.Reader
}

func (r reading) Read(data []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.r.Read(data)
}
