// Package imagecache brings the contents of uploaded images to a node.
//
// A content is fetched from a controller by its digest, by the node's own certificate, and kept: a download that broke off goes on where
// it was, one serves all who wait for it, and what arrives is digested before anybody sees it. It uses package ccloudvm/image for that.
//
// What is guaranteed: a file that Fetch returned is complete, has the digest that was asked for, never changes, and stays while it is in
// use. Beyond that the cache keeps the contents that were used last, within its bound, and as long as the disk is not full; what is in use may exceed it.
// What finds no room on the disk leaves nothing there and is cluster.ErrNoCapacity.
package imagecache

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/ciaocloud/ciao/ccloudvm/image"
	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
)

// Cache is a directory of contents. It may be used from many goroutines.
type Cache struct {
	store *image.Store
	limit int64

	mu sync.Mutex // held while contents are removed
}

// Open returns the cache in a directory, which is made when it is not there. client reaches controllers; limit is in bytes.
func Open(directory string, limit int64, client *http.Client) (*Cache, error) {
	store, err := image.Open(directory)
	if err != nil {
		return nil, err
	}
	store.Client = client
	return &Cache{store: store, limit: limit}, nil
}

// Fetch returns the file with a content; see launcher.ImageCache.
func (c *Cache) Fetch(ctx context.Context, content cluster.ImageContent, controller string, inUse func(digest string) bool, progress func(message string)) (string, error) {
	if !cluster.ValidDigest(content.Digest) {
		return "", fmt.Errorf("%w: %q is not the digest of an image", cluster.ErrInvalid, content.Digest)
	}
	path, err := c.get(ctx, content, controller, progress)
	if full(err) && c.evict(inUse, 0) == nil {
		path, err = c.get(ctx, content, controller, progress)
	}
	if err != nil {
		return "", classify(err)
	}
	return path, c.evict(inUse, c.limit)
}

func (c *Cache) get(ctx context.Context, content cluster.ImageContent, controller string, progress func(message string)) (string, error) {
	source := image.Source{URL: "https://" + controller + api.BlobPath + content.Digest, Digest: content.Digest, Opaque: true}
	found, err := c.store.Fetch(ctx, source, func(p image.Progress) {
		progress(fmt.Sprintf("image %s: %s of %s", content.Name, humanize.IBytes(uint64(p.Done)), humanize.IBytes(uint64(max(p.Total, content.Bytes)))))
	})
	if err != nil {
		return "", err
	}
	now := time.Now()
	return found.Disk, os.Chtimes(found.Disk, now, now) // when it was used last
}

// evict removes the contents that were used longest ago and are not in use, down to a limit. Whoever waits for one has it in use.
func (c *Cache) evict(inUse func(digest string) bool, limit int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	directory := filepath.Join(c.store.Dir, "blobs")
	entries, err := os.ReadDir(directory)
	if err != nil {
		return fmt.Errorf("look for images to be removed from the node: %w", err)
	}
	var all []os.FileInfo
	var total int64
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			return err
		}
		all, total = append(all, info), total+info.Size()
	}
	slices.SortFunc(all, func(a, b os.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for _, info := range all {
		if total <= limit {
			break
		}
		digest := strings.Replace(info.Name(), "-", ":", 1)
		if inUse(digest) {
			continue
		}
		if err := os.Remove(filepath.Join(directory, info.Name())); err != nil {
			return fmt.Errorf("remove an image that nothing uses from the node: %w", err)
		}
		total -= info.Size()
	}
	return nil
}

func full(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// classify gives an error its class in the cluster.
func classify(err error) error {
	switch {
	case full(err):
		return fmt.Errorf("%w: %w", cluster.ErrNoCapacity, err)
	case errors.Is(err, image.ErrUnreachable), errors.Is(err, image.ErrDigest):
		return fmt.Errorf("%w: %w", cluster.ErrUnavailable, err)
	}
	return err
}
