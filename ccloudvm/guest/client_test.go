package guest_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/ccloudvm/guest"
	"github.com/google/go-cmp/cmp"
)

func access(t *testing.T, address string) guest.Access {
	t.Helper()
	user, err := guest.GenerateKey("user")
	if err != nil {
		t.Fatal(err)
	}
	host, err := guest.GenerateKey("host")
	if err != nil {
		t.Fatal(err)
	}
	return guest.Access{Name: "dev", Address: netip.MustParseAddrPort(address), User: "me", Key: user.Signer, HostKey: host.Signer.PublicKey()}
}

func TestSilentServerHasALimit(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := guest.Dial(ctx, access(t, l.Addr().String())); !errors.Is(err, guest.ErrUnreachable) {
		t.Errorf("Dial = %v, want ErrUnreachable", err)
	}
	if _, err := guest.Wait(ctx, access(t, l.Addr().String())); !errors.Is(err, guest.ErrUnreachable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Wait = %v, want both what happened last and the end of the context", err)
	}
}

func TestWaitGivesUpWithTheCause(t *testing.T) {
	broken := errors.New("the guest broke down")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(broken)
	if _, err := guest.Wait(ctx, access(t, "127.0.0.1:1")); !errors.Is(err, broken) {
		t.Errorf("Wait = %v, want %v", err, broken)
	}
}

func TestQuoteSurvivesAShell(t *testing.T) {
	words := []string{"plain", "", "two words", "it's", `"$HOME" \ $(id) ` + "`id`", "a\nb", "*", "~", "-n", "é😀", "a;b&c|d<e>f"}
	out, err := exec.Command("sh", "-c", "printf '%s\\0' "+guest.Quote(words...)).Output()
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	if d := cmp.Diff(words, got); d != "" {
		t.Errorf("words (-want +got):\n%s", d)
	}
}

func TestEnsureKeyKeepsTheFirst(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys", "id")
	a, err := guest.EnsureKey(path, "me")
	if err != nil {
		t.Fatal(err)
	}
	b, err := guest.EnsureKey(path, "me")
	if err != nil || a.PublicLine != b.PublicLine {
		t.Errorf("second EnsureKey = %q, %v; want %q", b.PublicLine, err, a.PublicLine)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
}

func TestWriteFilesAreReadByOpenSSH(t *testing.T) {
	if _, err := exec.LookPath("ssh"); err != nil {
		t.Skip("ssh is not installed")
	}
	f, err := access(t, "127.3.232.1:10022").WriteFiles(t.TempDir(), "/home/a b/id")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("ssh", "-F", f.Config, "-G", "dev").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"hostname 127.3.232.1", "port 10022", "user me", "identityfile /home/a b/id", "stricthostkeychecking true"} {
		if !strings.Contains(string(out), want+"\n") {
			t.Errorf("ssh -G lacks %q", want)
		}
	}
	known, err := os.ReadFile(f.KnownHosts)
	if err != nil || !strings.HasPrefix(string(known), "[127.3.232.1]:10022 ssh-ed25519 ") {
		t.Errorf("known_hosts = %q, %v", known, err)
	}
}
