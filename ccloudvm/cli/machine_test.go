package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/ccloudvm"
	"github.com/ciaocloud/ciao/ccloudvm/image"
	"github.com/ciaocloud/ciao/require"
)

// binary is the real program, with a home of its own; images come from the user's cache.
type binary struct {
	t    *testing.T
	path string
	home string
	dir  string
}

func build(t *testing.T) *binary {
	t.Helper()
	require.Guest(t)
	require.Command(t, "go")
	p := &binary{t: t, path: filepath.Join(t.TempDir(), "ccloudvm"), home: t.TempDir(), dir: t.TempDir()}
	// With the image in the cache, nothing below needs the network: the proxy that the guest is told of does not exist.
	store, err := image.Open("")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Ensure(t.Context(), image.Request{Name: "debian-12"}, nil); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", p.path, "github.com/ciaocloud/ciao/ccloudvm/cmd/ccloudvm")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return p
}

// call runs the program. Its data lies in the test's home, and everything else where the user has it.
func (p *binary) call(stdin string, args ...string) (code int, out string) {
	p.t.Helper()
	// Not the test's context: it ends before clean-ups run.
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.path, args...)
	cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+p.home, "HTTP_PROXY=http://user:secret@localhost:3128")
	cmd.Dir, cmd.Stdin = p.dir, strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	p.t.Logf("ccloudvm %s (exit code %d)\n%s", strings.Join(args, " "), cmd.ProcessState.ExitCode(), stderr.String())
	if strings.Contains(stderr.String(), "secret") {
		p.t.Error("a proxy password was shown")
	}
	if err != nil && cmd.ProcessState == nil {
		p.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), stdout.String()
}

func (p *binary) must(args ...string) string {
	p.t.Helper()
	code, out := p.call("", args...)
	if code != 0 {
		p.t.Fatalf("ccloudvm %s ended with %d", strings.Join(args, " "), code)
	}
	return out
}

// TestDevelopmentVMDebian12 takes a real guest through its whole life.
func TestDevelopmentVMDebian12(t *testing.T) {
	p := build(t)
	src := filepath.Join(p.dir, "src")
	if err := os.MkdirAll(filepath.Join(src, "sub"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(src, "file"), []byte("from the host\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.call("", "delete", "--all") })

	if name := p.must("create", "debian-12", "--mount", "src,none,"+src, "--port", "8080-80"); name != "debian-12\n" {
		t.Errorf("create says %q on standard output, want the name", name)
	}
	var made ccloudvm.Instance
	if err := json.Unmarshal([]byte(p.must("status", "-o", "json")), &made); err != nil {
		t.Fatal(err)
	}
	if made.State != ccloudvm.StateRunning || !made.Address.IsLoopback() || made.Address.String() == "127.0.0.1" || len(made.Phases) < 5 {
		t.Errorf("status: %+v", made)
	}

	p.inside(src)
	p.copying(src)

	p.must("stop")
	if out := p.must("ls", "-f", "{{.state}}"); out != "stopped\n" {
		t.Errorf("after stop: %q", out)
	}
	if code, _ := p.call("", "run", "--", "true"); code != exitState {
		t.Errorf("run in a stopped instance ended with %d, want %d", code, exitState)
	}
	p.must("start", "--mem", "768")
	if out := p.must("run", "debian-12", "--", "sh", "-c", "cat ~/kept; cat "+src+"/file; grep -c processor /proc/cpuinfo"); out != "kept\nfrom the host\n1\n" {
		t.Errorf("after stop and start: %q", out)
	}
	p.must("delete", "debian-12")
	if left, _ := filepath.Glob(filepath.Join(p.home, "ccloudvm/instances/*")); len(left) > 0 {
		t.Errorf("delete left %v", left)
	}
}

// inside looks at the guest from within.
func (p *binary) inside(src string) {
	t := p.t
	if out := p.must("run", "debian-12", "--", "printf", "%s|", "a b", "$HOME", "'", "--", "*"); out != "a b|$HOME|'|--|*|" {
		t.Errorf("arguments arrive as %q", out)
	}
	if code, out := p.call("input", "run", "--", "sh", "-c", "cat; exit 42"); code != 42 || out != "input" {
		t.Errorf("standard input and exit code: %d, %q", code, out)
	}
	if code, out := p.call("echo kept > kept; hostname; exit 7\n", "connect"); code != 7 || !strings.Contains(out, "debian-12") {
		t.Errorf("connect with a script on standard input: %d, %q", code, out)
	}
	if out := p.must("run", "--", "sudo", "-n", "sh", "-c", "id -u; cat "+src+"/file; findmnt -n -o FSTYPE "+src); out != "0\nfrom the host\n9p\n" {
		t.Errorf("sudo and the share: %q", out)
	}
	if out := p.must("run", "--", "sh", "-c", `echo "$http_proxy"; apt-config dump Acquire::http::Proxy`); !strings.HasPrefix(out, "http://user:secret@10.0.2.2:3128\n") ||
		!strings.Contains(out, `"http://user:secret@10.0.2.2:3128"`) {
		t.Errorf("the proxy in the guest: %q", out)
	}
	work := p.dir
	p.dir = filepath.Join(src, "sub")
	if out := p.must("run", "--", "pwd"); out != p.dir+"\n" {
		t.Errorf("a command called inside a share runs in %q, want %s", out, p.dir)
	}
	p.dir = work
}

func (p *binary) copying(src string) {
	t := p.t
	p.must("copy", filepath.Join(src, "file"), "copied")
	p.must("copy", "debian-12", "-r", src, "tree")
	if out := p.must("run", "--", "cat", "copied", "tree/file"); out != "from the host\nfrom the host\n" {
		t.Errorf("copied into the guest: %q", out)
	}
	back := filepath.Join(p.dir, "back")
	p.must("copy", "-t", "copied", back)
	if b, err := os.ReadFile(back); err != nil || string(b) != "from the host\n" {
		t.Errorf("copied to the host: %q, %v", b, err)
	}
	if code, _ := p.call("", "copy", src, "elsewhere"); code != exitInvalid {
		t.Errorf("a directory without -r ended with %d, want %d", code, exitInvalid)
	}
}
