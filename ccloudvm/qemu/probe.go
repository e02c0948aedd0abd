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
	"strings"
	"time"
)

// Prober chooses the accelerator by trial.
type Prober struct {
	CacheDir string // where the result is kept; "" keeps none
	Binary   string // "" means [Binary]
	Device   string // "" means /dev/kvm
}

// trialLimit is how long the tiny guest may take. Where KVM works it takes 0.2 s; a guest that hangs in the firmware never ends.
const trialLimit = 3 * time.Second

// trials is how often the tiny guest must get to its exit. Where hardware virtualisation is itself imitated, one guest in many gets
// through by luck, and a real one hangs all the same.
const trials = 3

// ErrNoKVM says that hardware virtualisation was asked for and does not work.
var ErrNoKVM = errors.New("KVM does not work here")

// Choose returns the accelerator for want: "kvm", "tcg", or "auto" (also for ""), which is KVM where guests really run on it and
// TCG elsewhere. The result of the trials is kept for as long as the machine is up with the same QEMU and KVM modules.
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
		return Accelerator{Kind: KVM, Reason: "KVM is used: trial guests ran on it."}, nil
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
	f.Close()
	key, err := p.key()
	if err != nil {
		return "", err
	}
	if failure, ok := p.recall(key); ok {
		return failure, nil
	}
	failure, err := p.tries(ctx, Accelerator{Kind: KVM})
	if err != nil {
		return "", err
	}
	p.remember(key, failure)
	return failure, nil
}

// tries ends with the first trial that fails.
func (p Prober) tries(ctx context.Context, a Accelerator) (failure string, err error) {
	for range trials {
		if failure, err = p.trial(ctx, a); failure != "" || err != nil {
			break
		}
	}
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

// key names everything that the trial's result depends on: this boot, this QEMU, these KVM modules.
func (p Prober) key() (string, error) {
	path, err := p.binary()
	if err != nil {
		return "", err
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	modules, _ := filepath.Glob("/sys/module/kvm*")
	h := sha256.New()
	fmt.Fprintln(h, bootID(), path, info.Size(), info.ModTime().UnixNano(), modules, trials, trialGuest())
	return hex.EncodeToString(h.Sum(nil)[:8]), nil
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

// trial runs the tiny guest with the arguments that real machines get, and returns why it did not reach its exit, or "".
func (p Prober) trial(ctx context.Context, a Accelerator) (string, error) {
	binary, err := p.binary()
	if err != nil {
		return "", err
	}
	kernel, err := os.CreateTemp("", "ccloudvm-trial-*")
	if err != nil {
		return "", err
	}
	defer os.Remove(kernel.Name())
	_, err = kernel.Write(trialGuest())
	if err := errors.Join(err, kernel.Close()); err != nil {
		return "", err
	}
	machine := Machine{Name: "trial", Accelerator: a, VCPUs: 1, MemoryMiB: 64, Boot: Boot{Kernel: kernel.Name()}}
	args, err := machine.Args()
	if err != nil {
		return "", err
	}
	args = append(args, "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04", "-no-reboot")
	run, cancel := context.WithTimeout(ctx, trialLimit)
	defer cancel()
	cmd := exec.CommandContext(run, binary, args...)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	return verdict(cmd, run.Err() != nil, string(out), err)
}

func verdict(cmd *exec.Cmd, late bool, out string, err error) (string, error) {
	var exit *exec.ExitError
	switch {
	case late:
		return fmt.Sprintf("a trial guest on it did not get through the firmware within %v", trialLimit), nil
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
