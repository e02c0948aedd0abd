package networktest

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/ciaocloud/ciao/cluster/network/netns"
	"github.com/ciaocloud/ciao/require"
)

// Space is a namespace of a test. It has no name, so that nothing is left of it when the test has ended.
type Space struct {
	t    testing.TB
	file *os.File
}

// NewSpace makes an empty namespace with its loopback link up.
func NewSpace(t testing.TB) *Space {
	t.Helper()
	require.Root(t)
	require.Command(t, "ip")
	file, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	s := &Space{t, file}
	s.IP("link set lo up")
	// Addresses that the kernel gives itself, a while after a link came up, would make two dumps differ.
	s.Run("sh", "-c", "for f in /proc/sys/net/ipv6/conf/*/disable_ipv6; do test ! -e $f || echo 1 > $f; done")
	return s
}

// OpenSpace opens a namespace by its path.
func OpenSpace(t testing.TB, path string) *Space {
	t.Helper()
	file, err := netns.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return &Space{t, file}
}

// File holds the namespace.
func (s *Space) File() *os.File { return s.file }

// Path is a path of the namespace, good for this process.
func (s *Space) Path() string { return fmt.Sprintf("/proc/self/fd/%d", s.file.Fd()) }

// Do runs f on a thread in the namespace.
func (s *Space) Do(f func() error) {
	s.t.Helper()
	if err := netns.Inside(s.file, f); err != nil {
		s.t.Fatal(err)
	}
}

// IP runs ip(8) in the namespace and returns what it prints.
func (s *Space) IP(arguments string) string {
	s.t.Helper()
	return s.Run("ip", strings.Fields(arguments)...)
}

// Run runs a program in the namespace and returns what it prints.
func (s *Space) Run(name string, arguments ...string) string {
	s.t.Helper()
	out, err := s.Try(name, arguments...)
	if err != nil {
		s.t.Fatalf("%s %s: %v: %s", name, strings.Join(arguments, " "), err, out)
	}
	return out
}

// Try is Run that may fail.
func (s *Space) Try(name string, arguments ...string) (string, error) {
	var out bytes.Buffer
	command := exec.CommandContext(s.t.Context(), name, arguments...)
	command.Stdout, command.Stderr = &out, &out
	if err := netns.Inside(s.file, command.Start); err != nil {
		return "", err
	}
	err := command.Wait()
	return out.String(), err
}

// Start runs a program in the namespace until the test ends.
func (s *Space) Start(name string, arguments ...string) *exec.Cmd {
	s.t.Helper()
	command := exec.Command(name, arguments...)
	command.Stderr = os.Stderr
	s.Do(command.Start)
	s.t.Cleanup(func() {
		command.Process.Kill()
		command.Wait()
	})
	return command
}

func pidOf(command *exec.Cmd) string { return strconv.Itoa(command.Process.Pid) }

// Link finds a link of the namespace.
func (s *Space) Link(name string) (link *net.Interface) {
	s.t.Helper()
	s.Do(func() (err error) {
		link, err = net.InterfaceByName(name)
		return err
	})
	return link
}
