package image

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// digest is a parsed "ALGORITHM:HEX".
type digest struct {
	algorithm, hex string
}

func parseDigest(s string) (digest, error) {
	algorithm, sum, _ := strings.Cut(strings.ToLower(s), ":")
	length := map[string]int{"sha256": 64, "sha512": 128}[algorithm]
	if _, err := hex.DecodeString(sum); err != nil || length == 0 || len(sum) != length {
		return digest{}, fmt.Errorf(`digest %q: want "sha256:" and 64, or "sha512:" and 128 hexadecimal digits`, s)
	}
	return digest{algorithm, sum}, nil
}

// digestOf names the algorithm of a bare sum by its length.
func digestOf(sum string) (string, error) {
	algorithm := "sha256"
	if len(sum) == 128 {
		algorithm = "sha512"
	}
	d, err := parseDigest(algorithm + ":" + sum)
	return d.String(), err
}

func (d digest) String() string { return d.algorithm + ":" + d.hex }

func (d digest) hash() hash.Hash {
	if d.algorithm == "sha512" {
		return sha512.New()
	}
	return sha256.New()
}

func (s *Store) blob(d digest) string { return s.path("blobs", d.algorithm+"-"+d.hex) }

// have returns the downloaded image of a digest, if it is here.
func (s *Store) have(text string) (Image, bool) {
	d, err := parseDigest(text)
	if err != nil {
		return Image{}, false
	}
	path := s.blob(d)
	if _, err := os.Stat(path); err != nil {
		return Image{}, false
	}
	format, err := sniff(path)
	if err != nil {
		return Image{}, false
	}
	return Image{Digest: d.String(), Disk: path, Format: format, Origin: Downloaded}, true
}

// adopt verifies a complete download and makes it a blob. What is not right is deleted, so that the next try starts over.
func (s *Store) adopt(ctx context.Context, partial, want string, opaque bool) (string, error) {
	d := digest{algorithm: "sha256"}
	if want != "" {
		var err error
		if d, err = parseDigest(want); err != nil {
			return "", err
		}
	}
	f, err := os.Open(partial)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := d.hash()
	if _, err := io.Copy(h, readerContext{ctx, f}); err != nil {
		return "", err
	}
	got := hex.EncodeToString(h.Sum(nil))
	if d.hex != "" && got != d.hex {
		os.Remove(partial)
		return "", fmt.Errorf("%w: published is %s, received was %s (a proxy may have changed it, or it was replaced meanwhile: try again)",
			ErrDigest, d.hex, got)
	}
	d.hex = got
	if !opaque {
		if _, err := Inspect(ctx, partial); err != nil {
			os.Remove(partial)
			return "", err
		}
	}
	if err := os.Chmod(partial, 0o444); err != nil {
		return "", err
	}
	os.Remove(partial + ".tag")
	return d.String(), os.Rename(partial, s.blob(d))
}

// sniff tells qcow2 from raw by the magic number at the beginning.
func sniff(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	magic := make([]byte, 4)
	if _, err := io.ReadFull(f, magic); err != nil {
		return "", fmt.Errorf("%s is not a disk image: it is too short", path)
	}
	if string(magic) == "QFI\xfb" {
		return "qcow2", nil
	}
	return "raw", nil
}

// writeFile writes a file beside path and renames it into place.
func writeFile(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err := errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
