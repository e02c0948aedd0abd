package image

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// tinyFiles are the tiny image's own programs, and make, the script that makes its disk.
//
//go:embed tiny
var tinyFiles embed.FS

const tinySuite = "bookworm"

// tinyPackages are what the tiny image is made of, and made by.
func tinyPackages() []string {
	return []string{
		"linux-image-cloud-amd64", "busybox-static", "dropbear-bin", "lua5.4", "lua-yaml", // lua reads the seed's YAML
		"e2fsprogs", "fdisk", "util-linux", // to grow the root file system
		"mtools", "syslinux", "syslinux-common", "systemd-boot-efi",
	}
}

// Tiny returns the image "tiny", made on this machine from Debian packages when the store does not have it: Debian's kernel for clouds,
// busybox and dropbear, booted by BIOS or UEFI, in less than 40 MB. It understands a NoCloud seed's host name, network, users,
// SSH keys, files and commands; keys that are nobody's in particular are those of the user ciao and of root. It is made by what
// [Store.Build] needs, in seconds.
func (s *Store) Tiny(ctx context.Context, report Report) (Image, error) {
	digest, err := tinyDigest()
	if err != nil {
		return Image{}, err
	}
	img := Image{Name: "tiny", Digest: digest, Format: "qcow2", Origin: Built}
	return s.make(ctx, img, report, tinyArgs)
}

// tinyDigest names everything that decides what the image is, but for the versions of the packages.
func tinyDigest() (string, error) {
	sum := sha256.New()
	fmt.Fprintln(sum, tinySuite, tinyPackages())
	err := fs.WalkDir(tinyFiles, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := tinyFiles.ReadFile(path)
		fmt.Fprintln(sum, path, len(content), string(content))
		return err
	})
	return "recipe:" + hex.EncodeToString(sum.Sum(nil)[:16]), err
}

func tinyArgs(mode, work string) ([]string, error) {
	own := filepath.Join(work, "own")
	if err := os.CopyFS(own, tinyFiles); err != nil {
		return nil, fmt.Errorf("writing the programs of the tiny image: %w", err)
	}
	script, err := tinyFiles.ReadFile("tiny/make")
	if err != nil {
		return nil, err
	}
	args := append(commonArgs(mode), "--variant=extract", "--include="+strings.Join(tinyPackages(), ","), "--dpkgopt=path-exclude=/usr/share/doc/*",
		"--extract-hook=sync-in "+quoted(own)+" /", "--extract-hook="+string(script), handOut(mode, "--extract-hook=", "disk", filepath.Join(work, "disk.qcow2")),
		tinySuite, "-")
	return slices.Concat(args, hostSources(tinySuite)), nil
}
