package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ciaocloud/ciao/ccloudvm"
	"github.com/ciaocloud/ciao/ccloudvm/guest"
)

// home gives the test a home of its own, in which nothing exists.
func home(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, value := range map[string]string{
		"HOME": dir, "XDG_DATA_HOME": "", "XDG_CONFIG_HOME": "", "XDG_CACHE_HOME": "", "XDG_RUNTIME_DIR": "", "HTTP_PROXY": "", "http_proxy": "",
	} {
		t.Setenv(name, value)
	}
	return dir
}

func call(args ...string) (code int, out, errs string) {
	var stdout, stderr bytes.Buffer
	code = Run(append([]string{"ccloudvm"}, args...), Streams{In: strings.NewReader(""), Out: &stdout, Err: &stderr})
	return code, stdout.String(), stderr.String()
}

func TestRefusals(t *testing.T) {
	dir := home(t)
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	unknownKey := write("unknown.yaml", "base_image: debian-12\nvm:\n  memory: 1\n  cpus: many\n")
	brokenConfig := write("broken.yaml", "inherits: debian-12\n...\n---\nruncmd: echo\n")
	tests := []struct {
		args []string
		code int
		want string
	}{
		{[]string{"creat", "x"}, exitInvalid, `there is no command "creat": did you mean create?`},
		{[]string{"create"}, exitInvalid, "create takes one workload"},
		{[]string{"create", "a", "b"}, exitInvalid, "create takes one workload"},
		{[]string{"create", "caio"}, exitNotFound, "did you mean ciao?"},
		{[]string{"create", "debian-12", "--mem", "lots"}, exitInvalid, `invalid value "lots" for flag -mem`},
		{[]string{"create", "debian-12", "--mem", "0"}, exitInvalid, "--mem 0"},
		{[]string{"create", "debian-12", "--mem", "64"}, exitInvalid, "--mem: vm.mem_mib: must be from 128"},
		{[]string{"create", "debian-12", "--mem=9999999"}, exitHost, "use a smaller --mem"},
		{[]string{"create", "debian-12", "--port", "80"}, exitInvalid, "it is HOST-GUEST"},
		{[]string{"create", "debian-12", "--mount", "/src"}, exitInvalid, "it is TAG,SECURITY-MODEL,PATH"},
		{[]string{"create", "debian-12", "--drive", "/src"}, exitInvalid, "it is PATH,FORMAT"},
		{[]string{"create", "debian-12", "--hostip", "everywhere"}, exitInvalid, "--hostip: vm.host_ip: must be an IPv4 address"},
		{[]string{"create", "debian-12", "--name", "a b"}, exitInvalid, "cannot be an instance's name"},
		{[]string{"create", "debian-12", "--image", "best"}, exitInvalid, "auto, build or download"},
		{[]string{"create", "debian-12", "--wrong"}, exitInvalid, "flag provided but not defined: -wrong"},
		{[]string{"create", unknownKey}, exitInvalid, unknownKey + ":3:3: vm.memory: this key is not known here"},
		{[]string{"create", unknownKey}, exitInvalid, unknownKey + ":4:9: vm.cpus: must be a whole number, and here is text"},
		{[]string{"create", brokenConfig}, exitInvalid, brokenConfig + ":4:1: runcmd: must be a list of commands"},
		{[]string{"connect"}, exitNotFound, "there are no instances"},
		{[]string{"connect", "x"}, exitNotFound, `there is no instance "x"`},
		{[]string{"run"}, exitInvalid, "say what to run"},
		{[]string{"run", "x", "--", "true"}, exitNotFound, `there is no instance "x"`},
		{[]string{"run", "--", "true"}, exitNotFound, "there are no instances"},
		{[]string{"copy", "x"}, exitInvalid, "copy takes a source and a destination"},
		{[]string{"delete", "x"}, exitNotFound, `there is no instance "x"`},
		{[]string{"delete", "../x"}, exitInvalid, "cannot be an instance's name"},
		{[]string{"delete", "--all", "x"}, exitInvalid, "not both"},
		{[]string{"stop", "a", "b"}, exitInvalid, "stop takes one instance"},
		{[]string{"list", "-o", "xml"}, exitInvalid, "it is table, json or yaml"},
		{[]string{"workloads", "-f", "{{.Nope}}"}, exitInvalid, "--format"},
		{[]string{"completion", "tcsh"}, exitInvalid, "bash, zsh and fish"},
	}
	for _, tt := range tests {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			code, out, errs := call(tt.args...)
			if code != tt.code || !strings.Contains(errs, tt.want) {
				t.Errorf("exit code %d, want %d; standard error:\n%s\nwant it to say %q", code, tt.code, errs, tt.want)
			}
			if out != "" {
				t.Errorf("a refusal wrote to standard output: %q", out)
			}
		})
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".local/share/ccloudvm/instances/*")); len(left) > 0 {
		t.Errorf("refused creates left %v", left)
	}
}

func TestOutput(t *testing.T) {
	home(t)
	code, out, errs := call("instances", "-o", "json")
	var list struct{ Items []ccloudvm.Instance }
	if err := json.Unmarshal([]byte(out), &list); code != 0 || err != nil || list.Items == nil {
		t.Errorf("instances -o json: %d, %v, %q, %s", code, err, out, errs)
	}
	if _, out, _ := call("workloads", "-f", "{{.Name}}"); out != "ciao\ndebian-12\n" {
		t.Errorf("workloads by template: %q", out)
	}
	if _, out, _ := call("ls", "-o", "yaml"); out != "items: []\n" {
		t.Errorf("ls -o yaml: %q", out)
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if code, out, errs := call("completion", shell); code != 0 || !strings.Contains(out, "ccloudvm") {
			t.Errorf("completion %s: %d, %q", shell, code, errs)
		}
	}
	if code, out, _ := call("--help"); code != 0 || !strings.Contains(out, "create") || strings.Contains(out, "supervise") {
		t.Errorf("--help: %d\n%s", code, out)
	}
}

func TestArrange(t *testing.T) {
	tests := []struct{ args, want string }{
		{"ccloudvm create ciao --name x --keep --mem=5", "ccloudvm create --name x --keep --mem=5 ciao"},
		{"ccloudvm create --debug ciao", "ccloudvm create --debug ciao"},
		{"ccloudvm run ciao -- ls -l", "ccloudvm run ciao -- -- ls -l"},
		{"ccloudvm run -- ciao list -t", "ccloudvm run -- -- ciao list -t"},
		{"ccloudvm run ciao -t -e A=b -- ls -l", "ccloudvm run -t -e A=b ciao -- -- ls -l"},
		{"ccloudvm exec ciao -- a -- b", "ccloudvm exec ciao -- -- a -- b"},
		{"ccloudvm run ciao ls -l", "ccloudvm run ciao ls -l"},
		{"ccloudvm copy a b -r", "ccloudvm copy -r a b"},
		{"ccloudvm copy -r -- -a b", "ccloudvm copy -r -- -a b"},
		{"ccloudvm ls -o json", "ccloudvm ls -o json"},
		{"ccloudvm", "ccloudvm"},
		{"ccloudvm frob -x y", "ccloudvm frob -x y"},
	}
	for _, tt := range tests {
		got := strings.Join((&command{}).arrange(strings.Fields(tt.args)), " ")
		if got != tt.want {
			t.Errorf("arrange(%s)\n got %s\nwant %s", tt.args, got, tt.want)
		}
	}
}

func TestExitCodes(t *testing.T) {
	wrapped := func(class error) error {
		return fmt.Errorf("context: %w", &ccloudvm.Error{Class: class, Text: "text"})
	}
	tests := []struct {
		err  error
		want int
	}{
		{nil, 0}, {errors.New("x"), 1}, {wrapped(ccloudvm.ErrInvalid), 2}, {wrapped(ccloudvm.ErrNotFound), 3}, {wrapped(ccloudvm.ErrExists), 4},
		{wrapped(ccloudvm.ErrState), 5}, {wrapped(ccloudvm.ErrHost), 6}, {wrapped(ccloudvm.ErrTimeout), 7}, {wrapped(ccloudvm.ErrGuest), 8},
		{errInterrupted, 130}, {silent{&guest.ExitError{Code: 42}}, 42}, {&ccloudvm.Error{Class: ccloudvm.ErrGuest, Cause: guest.ErrLost}, 255},
	}
	for _, tt := range tests {
		if got := exitCode(tt.err); got != tt.want {
			t.Errorf("exitCode(%v) = %d, want %d", tt.err, got, tt.want)
		}
	}
}

func TestConcealed(t *testing.T) {
	key, err := guest.GenerateKey("x")
	if err != nil {
		t.Fatal(err)
	}
	config, err := json.Marshal(map[string]string{"a": "http://user:secret@proxy:1/x", "b": key.PrivatePEM, "c": "https://proxy/a@b"})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"a":"http://*****proxy:1/x","b":"*****\n","c":"https://proxy/a@b"}`
	if diff := cmp.Diff(want, concealed(string(config))); diff != "" {
		t.Errorf("concealed (-want +got):\n%s", diff)
	}
}

// TestDependencies keeps the heavy parts of the cluster out of a tool that has nothing to do with them.
func TestDependencies(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "github.com/ciaocloud/ciao/ccloudvm/cmd/ccloudvm").Output()
	if err != nil {
		t.Fatal(err)
	}
	for dep := range strings.Lines(string(out)) {
		dep = strings.TrimSpace(dep)
		for prefix, reason := range map[string]string{
			"go.etcd.io/": "a store of the cluster", "github.com/docker/": "a driver of the cluster", "google.golang.org/grpc": "nobody calls anybody here",
			"github.com/ciaocloud/ciao/cluster": "ccloudvm never knows the cluster", "github.com/ciaocloud/ciao/ssntp": "ccloudvm never knows the cluster",
		} {
			if strings.HasPrefix(dep, prefix) {
				t.Errorf("ccloudvm depends on %s (%s)", dep, reason)
			}
		}
	}
}
