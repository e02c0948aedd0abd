package netns

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ciaocloud/ciao/require"
)

// inPrivate runs f on a thread that has a /run of its own, which dies with it.
func inPrivate(t *testing.T, f func() error) {
	t.Helper()
	require.Root(t)
	require.Command(t, "ip")
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS)
		if err == nil {
			err = unix.Mount("", "/", "none", unix.MS_PRIVATE|unix.MS_REC, "")
		}
		if err == nil {
			unix.Unmount(Directory, unix.MNT_DETACH) // here, not elsewhere; where nobody mounted it there is nothing to do
			err = unix.Mount("run", "/run", "tmpfs", 0, "")
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func mounts() string {
	text, _ := os.ReadFile("/proc/thread-self/mountinfo")
	var ours []string
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, " "+Directory) {
			ours = append(ours, line)
		}
	}
	return strings.Join(ours, "")
}

func TestNamesCanBeRemovedWhateverIPDoes(t *testing.T) {
	for name, between := range map[string][]string{
		"nothing between":            {"netns", "list"},
		"ip netns add":               {"netns", "add", "theirs"},
		"ip netns exec in our space": {"netns", "exec", "ours-1", "true"},
	} {
		t.Run(name, func(t *testing.T) {
			inPrivate(t, func() error {
				for _, name := range []string{"ours-1", "ours-2"} {
					file, err := Make(name, func(*os.File) error { return nil })
					if err != nil {
						return err
					}
					defer file.Close()
				}
				if out, err := exec.Command("ip", between...).CombinedOutput(); err != nil {
					return fmt.Errorf("%w: %s", err, out)
				}
				for range 2 {
					for _, name := range []string{"ours-1", "ours-2"} {
						if err := Remove(name); err != nil {
							return err
						}
					}
				}
				if left := mounts(); strings.Contains(left, "ours") || (left != "" && between[1] != "add") {
					return fmt.Errorf("mounts are left:\n%s", left)
				}
				return nil
			})
		})
	}
}

func TestMakeFindsWhatIsThere(t *testing.T) {
	inPrivate(t, func() error {
		prepared := 0
		prepare := func(*os.File) error { prepared++; return nil }
		first, err := Make("ours", prepare)
		if err != nil {
			return err
		}
		defer first.Close()
		second, err := Make("ours", prepare)
		if err != nil {
			return err
		}
		defer second.Close()
		if prepared != 1 || !Same(first, Path("ours")) || !Same(second, Path("ours")) {
			return fmt.Errorf("prepared %d times; the same: %t, %t", prepared, Same(first, Path("ours")), Same(second, Path("ours")))
		}
		return Remove("ours")
	})
}

// The calling thread must stay where it is, whatever f does.
func TestInsideDoesNotMoveTheCaller(t *testing.T) {
	require.Root(t)
	file, err := New()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	where := func() string {
		name, err := os.Readlink("/proc/thread-self/ns/net")
		if err != nil {
			t.Error(err)
		}
		return name
	}
	home, inner := where(), ""
	if err := Inside(file, func() error { inner = where(); return nil }); err != nil {
		t.Fatal(err)
	}
	if inner == home || inner == "" {
		t.Errorf("f ran in %s", inner)
	}
	for range 100 {
		done := make(chan string)
		go func() { done <- where() }()
		if got := <-done; got != home {
			t.Fatalf("a goroutine runs in %s", got)
		}
	}
}
