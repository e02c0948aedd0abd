package image

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// buildLimit ends a build that hangs. It takes one to two minutes where packages come fast.
const buildLimit = 20 * time.Minute

// Build returns the image of a recipe, made on this machine from Debian packages when the store does not have it. It needs
// mmdebstrap, qemu-img and mke2fs; an ordinary user also needs user namespaces (package uidmap). No loop device, no mount
// and no root is needed. Packages come from this machine's own apt sources for the suite, by its proxy.
func (s *Store) Build(ctx context.Context, r Recipe, report Report) (Image, error) {
	if err := r.check(); err != nil {
		return Image{}, err
	}
	r = r.normal()
	img := Image{Name: "debian-" + r.Suite, Digest: r.Digest(), Format: "qcow2", Append: builtAppend, Origin: Built, Packages: r.Packages}
	if r.Boots {
		img.Append = ""
	}
	return s.make(ctx, img, report, func(mode, work string) ([]string, error) { return buildArgs(r, mode, work), nil })
}

// recipe gives the arguments of mmdebstrap that leave an image in the directory work: disk.qcow2, and kernel and initrd where it is not to
// be booted by a boot loader.
type recipe func(mode, work string) (args []string, err error)

// make returns the image of a digest, made when the store does not have it, once for all who ask.
func (s *Store) make(ctx context.Context, img Image, report Report, by recipe) (Image, error) {
	if found, ok := s.built(img.Digest); ok {
		return found, nil
	}
	name := strings.ReplaceAll(img.Digest, ":", "-")
	return s.alone(ctx, name, report, func(ctx context.Context, all Report) (Image, error) {
		if found, ok := s.built(img.Digest); ok {
			return found, nil
		}
		return s.build(ctx, img, by, all)
	})
}

func (s *Store) builtDir(digest string) string {
	_, sum, _ := strings.Cut(digest, ":")
	return s.path("built", sum)
}

// built returns the finished image of a recipe, if it is here or provided.
func (s *Store) built(digest string) (Image, bool) {
	dir := s.builtDir(digest)
	if img, ok := readBuilt(dir); ok {
		return img, true
	}
	return readBuilt(filepath.Join(Provided, "built", filepath.Base(dir)))
}

func readBuilt(dir string) (Image, bool) {
	b, err := os.ReadFile(filepath.Join(dir, "image.json"))
	var img Image
	if err != nil || json.Unmarshal(b, &img) != nil {
		return Image{}, false
	}
	return img.In(dir), true
}

// build makes the image in a directory of its own and renames that into place.
func (s *Store) build(ctx context.Context, img Image, by recipe, report Report) (Image, error) {
	mode, err := buildMode()
	if err != nil {
		return Image{}, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, buildLimit, fmt.Errorf("building the image took more than %v", buildLimit))
	defer cancel()
	work, err := os.MkdirTemp(s.path("partial"), "build-*")
	if err != nil {
		return Image{}, err
	}
	defer os.RemoveAll(work)
	args, err := by(mode, work)
	if err != nil {
		return Image{}, err
	}
	if err := mmdebstrap(ctx, args, work, report); err != nil {
		return Image{}, err
	}
	b, err := json.MarshalIndent(img, "", "  ")
	if err != nil {
		return Image{}, err
	}
	if err := os.WriteFile(filepath.Join(work, "image.json"), b, 0o444); err != nil {
		return Image{}, err
	}
	if err := errors.Join(os.Chmod(filepath.Join(work, "disk.qcow2"), 0o444), os.Chmod(work, 0o755)); err != nil {
		return Image{}, err
	}
	if err := os.Rename(work, s.builtDir(img.Digest)); err != nil {
		return Image{}, fmt.Errorf("putting the image into the store: %w", err)
	}
	img, _ = s.built(img.Digest)
	return img, nil
}

// buildMode is how mmdebstrap becomes root inside: really, or in a user namespace.
func buildMode() (string, error) {
	for _, name := range []string{"mmdebstrap", "mke2fs", "qemu-img"} {
		if _, err := lookPath(name); err != nil {
			return "", fmt.Errorf("%w: %s (run `ccloudvm setup`)", ErrTools, name)
		}
	}
	if os.Geteuid() == 0 {
		return "root", nil
	}
	if _, err := lookPath("newuidmap"); err != nil {
		return "", fmt.Errorf("%w: newuidmap, by which an ordinary user builds images (run `ccloudvm setup`)", ErrTools)
	}
	me, err := user.Current()
	if err != nil {
		return "", err
	}
	for _, file := range []string{"/etc/subuid", "/etc/subgid"} {
		b, err := os.ReadFile(file)
		if err != nil || !strings.Contains("\n"+string(b), "\n"+me.Username+":") {
			return "", fmt.Errorf("%s gives %s no ids to build images with: run `sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 %s`",
				file, me.Username, me.Username)
		}
	}
	return "unshare", nil
}

// lookPath also looks where Debian keeps administrators' programs, which are not on an ordinary user's PATH.
func lookPath(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", exec.ErrNotFound
}

func buildArgs(r Recipe, mode, out string) []string {
	args := append(commonArgs(mode), "--variant=minbase", "--include="+strings.Join(append(r.base(), r.Packages...), ","),
		"--dpkgopt=force-unsafe-io", `--aptopt=APT::Install-Recommends "false"`)
	for _, o := range excluded() {
		args = append(args, "--dpkgopt="+o)
	}
	for i, script := range r.scripts() {
		args = append(args, []string{"--essential-hook=", "--customize-hook="}[min(i, 1)]+script)
	}
	for inside, name := range map[string]string{"disk": "disk.qcow2", "kernel": "kernel", "initrd": "initrd"} {
		args = append(args, handOut(mode, "--customize-hook=", "ccloudvm."+inside, filepath.Join(out, name)))
	}
	args = append(args, r.Suite, "-")
	return append(args, hostSources(r.Suite)...)
}

// commonArgs are those of every build; the scripts clean up themselves, before they write the disk.
func commonArgs(mode string) []string {
	return []string{
		"--mode=" + mode, "--format=null", "--skip=cleanup/apt", "--architectures=amd64",
		`--aptopt=Acquire::Languages "none"`, `--aptopt=Acquire::Retries "3"`,
	}
}

// handOut is the hook that takes a file out of the new root directory.
func handOut(mode, hook, inside, target string) string {
	if mode == "root" {
		return fmt.Sprintf(`%scp --sparse=always "$1/%s" %s`, hook, inside, quoted(target)) // may write anywhere, and copies much faster
	}
	return fmt.Sprintf("%sdownload /%s %s", hook, inside, quoted(target))
}

// quoted is a word for a shell.
func quoted(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }

// mmdebstrap runs the program in a process group of its own, so that ending it ends everything it started.
func mmdebstrap(ctx context.Context, args []string, work string, report Report) error {
	cmd := exec.CommandContext(ctx, "mmdebstrap", args...)
	cmd.Dir = work
	// A place that is on disk, and that the mapped users of a namespace may enter.
	cmd.Env = append(os.Environ(), "TMPDIR=/var/tmp", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive",
		"PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	cmd.Env = append(cmd.Env, aptProxy(ctx)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) } // mmdebstrap then cleans up
	cmd.WaitDelay = 30 * time.Second
	output, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	said := make(chan []string, 1)
	go func() { said <- follow(output, report) }()
	err := cmd.Run()
	w.Close()
	lines := <-said
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return fmt.Errorf("building the image with mmdebstrap: %w: %s", err, strings.Join(lines, " / "))
	}
	return nil
}

// follow turns mmdebstrap's words into progress, and returns the last other ones, which tell of trouble when there is some.
func follow(r io.Reader, report Report) []string {
	started := time.Now()
	var last []string
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		text, news := strings.CutPrefix(line, "I: ")
		switch {
		case news && (strings.HasPrefix(text, "running --") || strings.Contains(text, "hook")): // and a whole script
		case news:
			report.send(Progress{Phase: "build", Text: strings.TrimSuffix(text, "..."), Elapsed: time.Since(started)})
		case line != "":
			last = append(last, line)
			last = last[max(0, len(last)-8):]
		}
	}
	io.Copy(io.Discard, r) // a line too long for the scanner must not stop the program
	return last
}
