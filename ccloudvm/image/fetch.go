package image

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"strings"
	"syscall"
	"time"
)

// Source is where a disk image is downloaded from, and how it is known to be the right one.
type Source struct {
	URL string // http, https or file

	// Digest is "sha256:HEX" or "sha512:HEX". Without it the digest is read from SumsURL, a SHA256SUMS or SHA512SUMS file; without
	// both, what comes first is what stays, until [Store.Forget].
	Digest  string
	SumsURL string

	// Opaque says that the content is no disk, or one that others have looked at: it is not looked into. Digest is needed then.
	Opaque bool
}

// sumsLimit bounds the wait for a list of digests, so that an unreachable site is noticed soon.
const sumsLimit = 15 * time.Second

// Fetch returns the image at a source, downloading it when the store does not have it. A disk is checked by [Inspect].
func (s *Store) Fetch(ctx context.Context, src Source, report Report) (Image, error) {
	if _, err := parseDigest(src.Digest); src.Digest != "" && err != nil {
		return Image{}, err
	}
	if img, ok := s.have(src.Digest); ok {
		return named(img, src), nil
	}
	u, err := url.Parse(src.URL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "file") {
		return Image{}, fmt.Errorf("image %q: want an http, https or file URL", src.URL)
	}
	return s.alone(ctx, "url-"+key(src.URL), report, func(ctx context.Context, all Report) (Image, error) {
		img, err := s.fetch(ctx, src, u, all)
		return named(img, src), err
	})
}

func named(img Image, src Source) Image {
	img.Name = path.Base(src.URL)
	return img
}

func (s *Store) fetch(ctx context.Context, src Source, u *url.URL, report Report) (Image, error) {
	want := src.Digest
	if want == "" && src.SumsURL != "" {
		var err error
		if want, err = s.published(ctx, src); err != nil {
			if img, ok := s.remembered(src.URL); ok && errors.Is(err, ErrUnreachable) {
				return img, nil // offline, and what we have was verified when it came
			}
			return Image{}, err
		}
	}
	if want == "" {
		if img, ok := s.remembered(src.URL); ok {
			return img, nil
		}
	}
	if img, ok := s.have(want); ok {
		return img, s.remember(src.URL, want)
	}
	partial := s.path("partial", key(src.URL))
	if err := s.transfer(ctx, u, partial, report); err != nil {
		return Image{}, s.giveBack(partial, err)
	}
	digest, err := s.adopt(ctx, partial, want, src.Opaque && want != "")
	if err != nil {
		return Image{}, fmt.Errorf("%s: %w", src.URL, err)
	}
	img, ok := s.have(digest)
	if !ok {
		return Image{}, fmt.Errorf("%s: the image vanished from the store", src.URL)
	}
	return img, s.remember(src.URL, digest)
}

// giveBack removes a download that found no room: what else uses the disk needs that more than the next attempt does.
func (s *Store) giveBack(partial string, err error) error {
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return err
	}
	os.Remove(partial)
	os.Remove(partial + ".tag")
	return fmt.Errorf("the disk of %s is full: free some space there (%w)", s.Dir, err)
}

// transfer leaves the whole content of u in the file partial.
func (s *Store) transfer(ctx context.Context, u *url.URL, partial string, report Report) error {
	if u.Scheme == "file" {
		return copyFile(ctx, u.Path, partial)
	}
	return s.download(ctx, u.String(), partial, report)
}

// published reads the digest of a source from its list of digests.
func (s *Store) published(ctx context.Context, src Source) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, sumsLimit, fmt.Errorf("%w: no answer within %v", ErrUnreachable, sumsLimit))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, src.SumsURL, nil)
	if err != nil {
		return "", err
	}
	resp, err := s.client().Do(req)
	if err != nil {
		return "", unreachable(ctx, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%w: %s answers %s", ErrUnreachable, src.SumsURL, resp.Status)
	}
	name := path.Base(src.URL)
	lines := bufio.NewScanner(io.LimitReader(resp.Body, 1<<20))
	for lines.Scan() {
		sum, file, ok := strings.Cut(lines.Text(), " ")
		if ok && strings.TrimLeft(file, " *") == name {
			return digestOf(sum)
		}
	}
	if err := lines.Err(); err != nil {
		return "", unreachable(ctx, err)
	}
	return "", fmt.Errorf("%w: %s does not list %s", ErrDigest, src.SumsURL, name)
}

func (s *Store) client() *http.Client {
	if s.Client != nil {
		return s.Client
	}
	return http.DefaultClient // dials with a limit and takes the proxy from the environment
}

// unreachable tells a site that does not answer from a caller that gave up.
func unreachable(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}

// key names a URL in file names.
func key(u string) string {
	sum := sha256.Sum256([]byte(u))
	return hex.EncodeToString(sum[:12])
}

type indexEntry struct {
	URL    string `json:"url"`
	Digest string `json:"digest"`
}

func (s *Store) remember(u, digest string) error {
	b, err := json.Marshal(indexEntry{u, digest})
	if err != nil {
		return err
	}
	return writeFile(s.path("index", key(u)+".json"), b)
}

// remembered is what a URL gave when it was fetched last.
func (s *Store) remembered(u string) (Image, bool) {
	b, err := os.ReadFile(s.path("index", key(u)+".json"))
	var e indexEntry
	if err != nil || json.Unmarshal(b, &e) != nil || e.URL != u {
		return Image{}, false
	}
	return s.have(e.Digest)
}

// Forget makes the next Fetch of a URL ask the site again.
func (s *Store) Forget(u string) error {
	err := os.Remove(s.path("index", key(u)+".json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
