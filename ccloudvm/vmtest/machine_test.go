package vmtest_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/ccloudvm/guest"
	"github.com/ciaocloud/ciao/ccloudvm/qemu"
	"github.com/ciaocloud/ciao/ccloudvm/vmtest"
	"github.com/google/go-cmp/cmp"
)

// TestDevelopmentVMToolkit is the life of a machine: it boots an image that was built here, reports its set-up, is entered, worked in, copied
// from and to, and shut down.
func TestDevelopmentVMToolkit(t *testing.T) {
	shared := t.TempDir()
	m := vmtest.Boot(t, vmtest.Options{
		Config: map[string]any{"runcmd": []any{
			"echo task set up > /dev/virtio-ports/" + guest.ProgressPort,
			"echo ok > /dev/virtio-ports/" + guest.ProgressPort,
			"echo finished > /dev/virtio-ports/" + guest.ProgressPort,
		}},
		Change: func(d *qemu.Machine) { d.Shares = []qemu.Share{{Tag: "shared", Path: shared}} },
	})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
	defer cancel()

	t.Run("it reports its set-up", func(t *testing.T) {
		var words []guest.Word
		started := time.Now()
		if err := guest.FollowProgress(ctx, m.Progress(), func(r guest.Report) { words = append(words, r.Word) }); err != nil {
			t.Fatal(err)
		}
		t.Logf("finished %v after SSH", time.Since(started).Round(time.Millisecond))
		if d := cmp.Diff([]guest.Word{guest.Task, guest.OK, guest.Finished}, words); d != "" {
			t.Errorf("reports (-want +got):\n%s", d)
		}
	})
	run := func(t *testing.T, c guest.Command) (string, error) {
		t.Helper()
		var out bytes.Buffer
		c.Stdout, c.Stderr = &out, &out
		err := m.Client.Run(ctx, c)
		return out.String(), err
	}
	t.Run("it set up everything", func(t *testing.T) {
		out, err := run(t, guest.Command{Script: "cloud-init status --wait --long; systemctl --failed --no-legend; sudo systemd-analyze; cloud-init analyze blame | head; systemd-analyze blame | head -12; lsblk"})
		t.Logf("%v\n%s", err, out)
		if !strings.Contains(out, "status: done") || strings.Contains(out, "failed") {
			t.Error("cloud-init or a unit failed")
		}
	})
	t.Run("it runs programs", func(t *testing.T) {
		words := []string{"printf", "%s|", "two words", "it's", "$HOME", "a\nb", ""}
		if out, err := run(t, guest.Command{Argv: words, Env: map[string]string{"X": "y z"}, Dir: "/tmp"}); err != nil || out != "two words|it's|$HOME|a\nb||" {
			t.Errorf("Run = %q, %v", out, err)
		}
		if out, err := run(t, guest.Command{Script: `echo "$X" "$PWD"`, Env: map[string]string{"X": "y z"}, Dir: "/tmp"}); err != nil || out != "y z /tmp\n" {
			t.Errorf("Run = %q, %v", out, err)
		}
		if out, err := run(t, guest.Command{Argv: []string{"cat"}, Stdin: strings.NewReader("through")}); err != nil || out != "through" {
			t.Errorf("Run = %q, %v", out, err)
		}
		_, err := run(t, guest.Command{Script: "exit 42"})
		if exit := new(guest.ExitError); !errors.As(err, &exit) || exit.Code != 42 {
			t.Errorf("Run = %v, want status 42", err)
		}
		out, err := run(t, guest.Command{Script: "stty size", Terminal: &guest.Terminal{Window: guest.Window{Columns: 99, Rows: 33}}})
		if err != nil || strings.TrimSpace(out) != "33 99" {
			t.Errorf("in a terminal: %q, %v", out, err)
		}
		late, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
		defer cancel()
		if err := m.Client.Run(late, guest.Command{Argv: []string{"sleep", "600"}}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Run = %v, want the end of the context", err)
		}
	})
	t.Run("it shares a directory", func(t *testing.T) {
		out, err := run(t, guest.Command{Script: "sudo mount -t 9p -o trans=virtio,version=9p2000.L,msize=131072 shared /mnt && echo hello | sudo tee /mnt/from-guest"})
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if b, err := os.ReadFile(filepath.Join(shared, "from-guest")); err != nil || string(b) != "hello\n" {
			t.Errorf("on the host: %q, %v", b, err)
		}
	})
	t.Run("it copies", func(t *testing.T) { copies(ctx, t, m.Client) })
	t.Run("it shuts down", func(t *testing.T) {
		how, err := m.Process.Stop(ctx, m.Monitor(), qemu.Limits{Powerdown: 10 * time.Minute, Quit: 20 * time.Second})
		if err != nil || how != qemu.PowerOff {
			t.Errorf("Stop = %q, %v; want %q", how, err, qemu.PowerOff)
		}
	})
}

func copies(ctx context.Context, t *testing.T, c *guest.Client) {
	dir := t.TempDir()
	source := filepath.Join(dir, "source")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Join(source, "sub dir"), 0o755))
	must(os.WriteFile(filepath.Join(source, "sub dir", "tool"), bytes.Repeat([]byte("x"), 8<<20), 0o755))
	must(os.Symlink("sub dir/tool", filepath.Join(source, "link")))

	if err := c.Upload(ctx, source, "there", guest.CopyOptions{}); !errors.Is(err, guest.ErrIsDirectory) {
		t.Errorf("Upload of a directory = %v, want ErrIsDirectory", err)
	}
	started := time.Now()
	must(c.Upload(ctx, source, "there", guest.CopyOptions{Recursive: true}))
	t.Logf("8 MiB to the guest: %v", time.Since(started).Round(time.Millisecond))
	must(c.Upload(ctx, filepath.Join(source, "sub dir", "tool"), "~/there/", guest.CopyOptions{})) // into a directory
	must(c.Upload(ctx, source, "there", guest.CopyOptions{Recursive: true}))                       // under its own name
	var sum int64
	must(c.Download(ctx, "there", filepath.Join(dir, "back"), guest.CopyOptions{Recursive: true, Progress: func(n int64) { sum = n }}))
	for _, name := range []string{"sub dir/tool", "tool", "source/sub dir/tool"} {
		if info, err := os.Stat(filepath.Join(dir, "back", name)); err != nil || info.Mode().Perm() != 0o755 || info.Size() != 8<<20 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if target, err := os.Readlink(filepath.Join(dir, "back", "link")); err != nil || target != "sub dir/tool" {
		t.Errorf("link -> %q, %v", target, err)
	}
	if sum < 24<<20 {
		t.Errorf("progress ended at %d bytes", sum)
	}
	must(c.Download(ctx, "/etc/hostname", dir, guest.CopyOptions{}))
	if b, err := os.ReadFile(filepath.Join(dir, "hostname")); err != nil || string(b) != "vmtest\n" {
		t.Errorf("hostname = %q, %v", b, err)
	}
	if err := c.Download(ctx, "/etc", dir, guest.CopyOptions{}); !errors.Is(err, guest.ErrIsDirectory) {
		t.Errorf("Download of a directory = %v, want ErrIsDirectory", err)
	}
	if err := c.Download(ctx, "/absent", dir, guest.CopyOptions{}); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("Download = %v", err)
	}
	if err := c.Upload(ctx, filepath.Join(source, "link"), "/proc/no", guest.CopyOptions{}); err == nil {
		t.Error("Upload to a place that cannot be written to has no error")
	}
}
