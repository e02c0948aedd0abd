package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/ciaocloud/ciao/ccloudvm"
	"github.com/ciaocloud/ciao/ccloudvm/guest"
	"github.com/ciaocloud/ciao/terminal"
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
	code = Run(context.Background(), "test", args, terminal.Streams{In: strings.NewReader(""), Out: &stdout, Err: &stderr})
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
		{[]string{"creat", "x"}, exitInvalid, `ccloudvm knows no "creat"; did you mean create?`},
		{[]string{"create"}, exitInvalid, "WORKLOAD is missing; use: ccloudvm create WORKLOAD"},
		{[]string{"create", "a", "b"}, exitInvalid, `"b" is one argument too many`},
		{[]string{"create", "caio"}, exitNotFound, "did you mean ciao?"},
		{[]string{"create", "debian-12", "--mem", "lots"}, exitInvalid, `invalid argument "lots" for "--mem" flag`},
		{[]string{"create", "debian-12", "--mem", "0"}, exitInvalid, "--mem 0"},
		{[]string{"create", "debian-12", "--mem", "64"}, exitInvalid, "--mem: vm.mem_mib: must be from 128"},
		{[]string{"create", "debian-12", "--mem=9999999"}, exitHost, "use a smaller --mem"},
		{[]string{"create", "debian-12", "--port", "80"}, exitInvalid, "it is HOST-GUEST"},
		{[]string{"create", "debian-12", "--mount", "/src"}, exitInvalid, "it is TAG,SECURITY-MODEL,PATH"},
		{[]string{"create", "debian-12", "--drive", "/src"}, exitInvalid, "it is PATH,FORMAT"},
		{[]string{"create", "debian-12", "--hostip", "everywhere"}, exitInvalid, "--hostip: vm.host_ip: must be an IPv4 address"},
		{[]string{"create", "debian-12", "--name", "a b"}, exitInvalid, "cannot be an instance's name"},
		{[]string{"create", "debian-12", "--image", "best"}, exitInvalid, "auto, build or download"},
		{[]string{"create", "debian-12", "--wrong"}, exitInvalid, "unknown flag: --wrong; `ccloudvm create --help` shows the flags"},
		{[]string{"create", unknownKey}, exitInvalid, unknownKey + ":3:3: vm.memory: this key is not known here"},
		{[]string{"create", unknownKey}, exitInvalid, unknownKey + ":4:9: vm.cpus: must be a whole number, and here is text"},
		{[]string{"create", brokenConfig}, exitInvalid, brokenConfig + ":4:1: runcmd: must be a list of commands"},
		{[]string{"connect"}, exitNotFound, "there are no instances"},
		{[]string{"connect", "x"}, exitNotFound, `there is no instance "x"`},
		{[]string{"run"}, exitInvalid, "say what to run"},
		{[]string{"run", "x", "--", "true"}, exitNotFound, `there is no instance "x"`},
		{[]string{"run", "--", "true"}, exitNotFound, "there are no instances"},
		{[]string{"copy", "x"}, exitInvalid, "DESTINATION is missing; use: ccloudvm copy [NAME] SOURCE DESTINATION"},
		{[]string{"delete", "x"}, exitNotFound, `there is no instance "x"`},
		{[]string{"delete", "../x"}, exitInvalid, "cannot be an instance's name"},
		{[]string{"delete", "--all", "x"}, exitInvalid, "not both"},
		{[]string{"stop", "a", "b"}, exitInvalid, `"b" is one argument too many`},
		{[]string{"list", "-o", "xml"}, exitInvalid, "use table, json, yaml"},
		{[]string{"workloads", "-f", "{{.nope}}"}, exitInvalid, "the fields are name origin"},
		{[]string{"run", "a", "b", "--", "true"}, exitInvalid, "name one instance before the --"},
		{[]string{"run", "--env", "x", "--", "true"}, exitInvalid, "it is NAME=VALUE"},
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
	if _, out, _ := call("workloads", "-f", "{{.name}}"); out != "ciao\ndebian-12\n" {
		t.Errorf("workloads by template: %q", out)
	}
	if _, out, _ := call("ls", "-o", "yaml"); out != "items: []\nnext: \"\"\n" {
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

// TestRunArguments: what stands behind -- reaches the guest as it is, and flags of ours are read wherever they stand before it.
func TestRunArguments(t *testing.T) {
	home(t)
	tests := []struct {
		args string
		want string // words|dash|tty
	}{
		{"run ciao -- ls -l", "ciao ls -l|1|false"},
		{"run -- ciao list -t", "ciao list -t|0|false"},
		{"run ciao -t -e A=b -- ls -l", "ciao ls -l|1|true"},
		{"exec -t ciao -- a -- b", "ciao a -- b|1|true"},
		{"run ciao uptime", "ciao uptime|-1|false"},
	}
	for _, tt := range tests {
		root := (&command{}).root("test")
		found, rest, err := root.Find(strings.Fields(tt.args))
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		found.RunE = func(command *cobra.Command, words []string) error {
			got = fmt.Sprintf("%s|%d|%s", strings.Join(words, " "), command.ArgsLenAtDash(), command.Flag("tty").Value)
			return nil
		}
		root.SetArgs(append([]string{"run"}, rest...))
		if err := root.Execute(); err != nil || got != tt.want {
			t.Errorf("%s: %s (%v), want %s", tt.args, got, err, tt.want)
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
		{context.Canceled, 130}, {terminal.Silent(&guest.ExitError{Code: 42}), 42}, {&ccloudvm.Error{Class: ccloudvm.ErrGuest, Cause: guest.ErrLost}, 255},
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
