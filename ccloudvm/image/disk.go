package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Info describes a disk image.
type Info struct {
	Format       string `json:"format"`
	VirtualBytes int64  `json:"virtual-size"`
	ActualBytes  int64  `json:"actual-size"`
	Backing      string `json:"backing-filename"`

	Specific struct {
		Data struct {
			DataFile string `json:"data-file"`
		} `json:"data"`
	} `json:"format-specific"`
}

// toolLimit bounds a call of qemu-img that moves no data.
const toolLimit = 30 * time.Second

// Inspect describes the disk image at path. One that refers to other files (a backing file, an external data file), or that is
// neither qcow2 nor raw, is refused with [ErrUnsafe]: it could make QEMU read any file of the user. The format comes from the file's
// first bytes alone, so a "raw" image cannot pose as another format later.
func Inspect(ctx context.Context, path string) (Info, error) {
	format, err := sniff(path)
	if err != nil {
		return Info{}, err
	}
	out, err := tool(ctx, "info", "--output=json", "-f", format, "--", path)
	if err != nil {
		return Info{}, err
	}
	var info Info
	if err := json.Unmarshal(out, &info); err != nil {
		return Info{}, fmt.Errorf("reading the words of qemu-img: %w", err)
	}
	switch {
	case info.Backing != "":
		return info, fmt.Errorf("%w: %s is an overlay of %q", ErrUnsafe, path, info.Backing)
	case info.Specific.Data.DataFile != "":
		return info, fmt.Errorf("%w: %s keeps its data in %q", ErrUnsafe, path, info.Specific.Data.DataFile)
	}
	return info, nil
}

// Check is Inspect, and also finds an image that is damaged, such as one that was cut short: it would read as zeros from there on.
func Check(ctx context.Context, path string) error {
	info, err := Inspect(ctx, path)
	if err != nil || info.Format == "raw" { // a raw image has nothing that could be wrong
		return err
	}
	_, err = tool(ctx, "check", "-q", "-f", info.Format, "--", path)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == onlyLeaks {
		return nil
	}
	return err
}

// onlyLeaks is the exit code of qemu-img check for an image with space that nothing uses.
const onlyLeaks = 3

// Overlay makes at path a writable qcow2 disk on top of an image, of at least so many bytes. It takes milliseconds and no space. The image
// must stay where it is for as long as the overlay is used.
func Overlay(ctx context.Context, base Image, path string, bytes int64) error {
	info, err := Inspect(ctx, base.Disk)
	if err != nil {
		return err
	}
	bytes = max(info.VirtualBytes, bytes)
	// -F: QEMU since 6.1 refuses to guess the format of a backing file, and guessing would trust the guest.
	_, err = tool(ctx, "create", "-q", "-f", "qcow2", "-F", base.Format, "-b", base.Disk,
		"-o", "lazy_refcounts=on", "--", path, fmt.Sprint(bytes))
	return err
}

// tool runs qemu-img. It ends with this process, however that ends: an orphan would hold the lock of a disk that the next process makes
// anew. The kernel ends it when the thread ends that started it (prctl(2), PR_SET_PDEATHSIG), so that is kept meanwhile.
func tool(ctx context.Context, args ...string) ([]byte, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ctx, cancel := context.WithTimeout(ctx, toolLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "qemu-img", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = time.Second
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return nil, fmt.Errorf("%w: qemu-img (run `ccloudvm setup`)", ErrTools)
	case err != nil && ctx.Err() != nil:
		return nil, fmt.Errorf("qemu-img %s: %w", args[0], context.Cause(ctx))
	case err != nil:
		return nil, fmt.Errorf("qemu-img %s: %w: %s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	return out, nil
}
