package guest_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/ccloudvm/guest"
)

func TestWatchConsole(t *testing.T) {
	for _, c := range []struct{ name, log, want string }{
		{"panic", "[    1.0] Linux\r\n[    1.2] Kernel panic - not syncing: VFS: Unable to mount root fs\r\n", "Kernel panic - not syncing: VFS"},
		{"emergency", "\x1b[0mYou are in emergency mode. After logging in, type\r\n", "You are in emergency mode"},
		{"no root", "Gave up waiting for root file system device.  Common problems:\n", "Gave up waiting for root"},
		{"no boot loader", "Booting from Hard Disk...\nNo bootable device.\n", "No bootable device"},
		{"bad cloud-config", "util.py[WARNING]: Failed loading yaml blob. Invalid format at line 3\n", "Failed loading yaml blob"},
		{"well", "Debian GNU/Linux 12 dev ttyS0\n\ndev login: ", ""},
		{"talk of panic", "message: in case of a panic, run away\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			log := filepath.Join(t.TempDir(), "console.log")
			if err := os.WriteFile(log, []byte(strings.Repeat("filler\n", 20000)+c.log), 0o600); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 600*time.Millisecond)
			defer cancel()
			err := guest.WatchConsole(ctx, log)
			switch {
			case c.want == "" && err != nil:
				t.Errorf("WatchConsole = %v, want nil", err)
			case c.want != "" && (!errors.Is(err, guest.ErrBroken) || !strings.Contains(err.Error(), c.want)):
				t.Errorf("WatchConsole = %v, want %q", err, c.want)
			}
		})
	}
}

func TestWatchConsoleFollows(t *testing.T) {
	log := filepath.Join(t.TempDir(), "console.log")
	found := make(chan error, 1)
	go func() { found <- guest.WatchConsole(t.Context(), log) }() // the file is not there yet
	f, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, part := range []string{"[1.0] Kernel pa", "nic - not syn", "cing: died\n"} {
		if _, err := f.WriteString(part); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-found; !errors.Is(err, guest.ErrBroken) {
		t.Errorf("WatchConsole = %v", err)
	}
}
