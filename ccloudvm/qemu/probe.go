package qemu

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Prober chooses the accelerator by trial.
type Prober struct {
	CacheDir string // where the result is kept; "" keeps none
	Binary   string // "" means [Binary]
	Device   string // "" means /dev/kvm

	// As is put before QEMU's command line, such as setpriv(1) with its options: machines that run as another user, who may not open the
	// device, are not helped by a trial that may.
	As []string
}

// trialLimit is how long the tiny guest may take. Where KVM works it takes 0.2 s; a guest that hangs in the firmware never ends, and on a KVM that
// emulates every instruction itself it took 16 s.
const trialLimit = 3 * time.Second

// Where the machine is itself emulated QEMU alone takes seconds to begin. A trial that is late may therefore take patience times as long as the
// tiny guest takes when it is emulated, which always works and may take emulationLimit.
const (
	patience       = 3
	emulationLimit = time.Minute
)

// ErrNoKVM says that hardware virtualisation was asked for and does not work.
var ErrNoKVM = errors.New("KVM does not work here")

// Choose returns the accelerator for want: "kvm", "tcg", or "auto" (also for ""), which is KVM where a guest really runs on it and
// TCG elsewhere. The result of the trial is kept for as long as the machine is up with the same QEMU and KVM modules.
func (p Prober) Choose(ctx context.Context, want string) (Accelerator, error) {
	switch want {
	case "tcg":
		return Accelerator{Kind: TCG, Reason: "Emulation (TCG) was asked for."}, nil
	case "", "auto", "kvm":
	default:
		return Accelerator{}, fmt.Errorf("unknown accelerator %q: use auto, kvm or tcg", want)
	}
	failure, err := p.kvm(ctx)
	switch {
	case err != nil:
		return Accelerator{}, err
	case failure == "":
		return Accelerator{Kind: KVM, Reason: "KVM is used: a trial guest ran on it."}, nil
	case want == "kvm":
		return Accelerator{}, fmt.Errorf("%w: %s", ErrNoKVM, failure)
	}
	return Accelerator{Kind: TCG, Reason: "Emulation (TCG) is used, about ten times slower than KVM: " + failure + "."}, nil
}

// kvm returns why KVM cannot be used, or "".
func (p Prober) kvm(ctx context.Context) (string, error) {
	device := p.Device
	if device == "" {
		device = "/dev/kvm"
	}
	f, err := os.OpenFile(device, os.O_RDWR, 0) // not cached: users repair permissions while the machine is up
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return device + " is missing (switch on virtualisation in the firmware setup, and load the module kvm_intel or kvm_amd)", nil
	case errors.Is(err, fs.ErrPermission):
		return "you may not open " + device + " (run `sudo usermod -aG kvm $USER` and log in again)", nil
	case err != nil:
		return fmt.Sprintf("%s does not open (%v)", device, err), nil
	}
	key, err := p.key(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	if failure, ok := p.recall(key); ok {
		return failure, nil
	}
	failure, err := p.tries(ctx)
	if err != nil {
		return "", err
	}
	p.remember(key, failure)
	return failure, nil
}

// tries gives the guest more time where everything is slow.
func (p Prober) tries(ctx context.Context) (failure string, err error) {
	failure, late, err := p.trial(ctx, Accelerator{Kind: KVM}, trialLimit)
	if !late || err != nil {
		return failure, err
	}
	begun := time.Now()
	if emulated, _, err := p.trial(ctx, Accelerator{Kind: TCG}, emulationLimit); emulated != "" || err != nil {
		return failure, err
	}
	limit := patience * time.Since(begun).Round(time.Second)
	if limit <= trialLimit {
		return failure, nil
	}
	failure, _, err = p.trial(ctx, Accelerator{Kind: KVM}, limit)
	return failure, err
}

func (p Prober) binary() (string, error) {
	name := p.Binary
	if name == "" {
		name = Binary
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%s is not installed (run `ccloudvm setup`): %w", name, err)
	}
	return path, nil
}

// key names everything that the trial's result depends on: this boot, this QEMU and its user, who may open the device, these KVM modules.
func (p Prober) key(device *os.File) (string, error) {
	path, err := p.binary()
	if err != nil {
		return "", err
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	opened, err := device.Stat()
	if err != nil {
		return "", err
	}
	modules, _ := filepath.Glob("/sys/module/kvm*")
	h := sha256.New()
	fmt.Fprintln(h, bootID(), path, info.Size(), info.ModTime().UnixNano(), p.As, opened.Mode(), owners(opened), modules, trialGuest())
	return hex.EncodeToString(h.Sum(nil)[:8]), nil
}

func owners(file fs.FileInfo) string {
	if s, ok := file.Sys().(*syscall.Stat_t); ok {
		return fmt.Sprint(s.Uid, s.Gid)
	}
	return ""
}

type trialResult struct {
	Failure string `json:"failure"` // "" means that the guest ran
}

func (p Prober) path(key string) string { return filepath.Join(p.CacheDir, "kvm-trial-"+key+".json") }

func (p Prober) recall(key string) (string, bool) {
	if p.CacheDir == "" {
		return "", false
	}
	b, err := os.ReadFile(p.path(key))
	var r trialResult
	if err != nil || json.Unmarshal(b, &r) != nil {
		return "", false
	}
	return r.Failure, true
}

// remember keeps a result. A cache that cannot be written costs the next start a trial, no more.
func (p Prober) remember(key, failure string) {
	if p.CacheDir == "" {
		return
	}
	b, err := json.Marshal(trialResult{failure})
	if err != nil || os.MkdirAll(p.CacheDir, 0o700) != nil {
		return
	}
	temporary := fmt.Sprintf("%s.%d", p.path(key), os.Getpid())
	if os.WriteFile(temporary, b, 0o600) == nil {
		os.Rename(temporary, p.path(key))
	}
}

// trial runs the tiny guest with the arguments that real machines get, and returns why it did not reach its exit, or "", and whether that is
// for want of time.
func (p Prober) trial(ctx context.Context, a Accelerator, limit time.Duration) (failure string, late bool, err error) {
	binary, err := p.binary()
	if err != nil {
		return "", false, err
	}
	kernel, err := os.CreateTemp("", "ccloudvm-trial-*")
	if err != nil {
		return "", false, err
	}
	defer kernel.Close()
	err = os.Remove(kernel.Name()) // at once: nothing is left of a trial that is killed
	_, failed := kernel.Write(trialGuest())
	if err := errors.Join(err, failed, kernel.Chmod(0o644)); err != nil {
		return "", false, err
	}
	// By its descriptor: it has no name, and another user may not get to the directory.
	machine := Machine{Name: "trial", Accelerator: a, VCPUs: 1, MemoryMiB: 64, Boot: Boot{Kernel: "/proc/self/fd/3"}}
	args, err := machine.Args()
	if err != nil {
		return "", false, err
	}
	args = append(args, "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04", "-no-reboot")
	run, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	line := append(append(slices.Clone(p.As), binary), args...)
	cmd := exec.CommandContext(run, line[0], line[1:]...)
	cmd.ExtraFiles = []*os.File{kernel}
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	switch {
	case ctx.Err() != nil:
		return "", false, context.Cause(ctx)
	case run.Err() != nil:
		return fmt.Sprintf("a trial guest on it did not come to its end within %v", limit), true, nil
	}
	failure, err = verdict(cmd, string(out), err)
	return failure, false, err
}

func verdict(cmd *exec.Cmd, out string, err error) (string, error) {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return "a trial guest on it ended without reaching its exit", nil
	case !errors.As(err, &exit):
		return "", fmt.Errorf("running the trial guest: %w", err)
	case cmd.ProcessState.ExitCode() == trialExit:
		return "", nil
	}
	words := lastLine(out)
	if words == "" {
		return "QEMU ended with " + exit.String() + " when a trial guest was run on it", nil
	}
	return "QEMU ended with " + exit.String() + " when a trial guest was run on it, saying: " + words, nil
}

// lastLine is the last line that is not a warning, shortened.
func lastLine(out string) string {
	var last string
	for line := range strings.Lines(out) {
		if text := strings.TrimSpace(line); text != "" && !strings.Contains(text, "warning:") {
			last = text
		}
	}
	if first, _, ok := strings.Cut(out, "\n"); ok && strings.Contains(first, "error:") {
		last = first // what follows is where in its source it gave up
	}
	if _, words, ok := strings.Cut(last, ": "); ok {
		last = strings.TrimPrefix(words, "error: ")
	}
	return last[:min(len(last), 160)]
}
