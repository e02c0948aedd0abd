package workload

import (
	"errors"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ciaocloud/ciao/ccloudvm"
)

func TestFunctions(t *testing.T) {
	ws := Workspace{HTTPProxy: "http://10.0.2.2:3128", NoProxy: "localhost,.example.com"}
	const config = `{{define "ENV"}}{{proxyVars .}} {{end -}}
environment: |
{{proxyEnv . 2}}
runcmd:
 - {{beginTask . (printf "Fetching \"%s\": a # b" "x")}}
 - {{download . "https://example.com/a b?c=d&e" "/tmp/x"}}
 - {{endTaskCheck .}}
 - {{endTaskOk .}}
 - {{endTaskFail .}}
 - su -c "{{message . "  $HOME  "}}" me
 - {{template "ENV" .}}apt-get update
`
	got, err := render(t, ws, config)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"environment":"no_proxy=\"localhost,.example.com\"\nNO_PROXY=\"localhost,.example.com\"\nhttp_proxy=\"http://10.0.2.2:3128\"\nHTTP_PROXY=\"http://10.0.2.2:3128\"\n",` +
		`"runcmd":["echo task Fetching %22x%22%3A a %23 b > PORT",` +
		`"/usr/local/bin/ccloudvm-get https%3A//example.com/a%20b%3Fc=d%26e /tmp/x",` +
		`"if [ $? -eq 0 ]; then echo ok > PORT; else echo fail > PORT; fi",` +
		`"echo ok > PORT","echo fail > PORT",` +
		`"su -c \"echo message %20%20%24HOME %20 > PORT\" me",` +
		`"no_proxy=localhost,.example.com NO_PROXY=localhost,.example.com http_proxy=http://10.0.2.2:3128 HTTP_PROXY=http://10.0.2.2:3128 apt-get update"]}`
	if diff := cmp.Diff(want, strings.ReplaceAll(compact(got), ChannelPath, "PORT")); diff != "" {
		t.Errorf("cloud-config (-want +got):\n%s", diff)
	}
}

// TestEscapeInShell shows that a text survives a shell and YAML quoting of every kind.
func TestEscapeInShell(t *testing.T) {
	text := "a \"quoted\" 'text'  with $HOME, `id`, \\, a: b # c, ünïcode, <>|&; %20 -n "
	out := filepath.Join(t.TempDir(), "out")
	for _, quoted := range []string{`sh -c "%s"`, `sh -c '%s'`, `%s`} {
		command := strings.Replace(quoted, "%s", strings.ReplaceAll(tell("message", text), ChannelPath, out), 1)
		if err := exec.CommandContext(t.Context(), "sh", "-c", command+" && cp "+out+" "+out+".seen").Run(); err != nil {
			t.Fatalf("%s: %v", command, err)
		}
		seen, err := exec.CommandContext(t.Context(), "cat", out+".seen").Output()
		if err != nil {
			t.Fatal(err)
		}
		word, rest, _ := strings.Cut(strings.TrimSuffix(string(seen), "\n"), " ")
		if got, err := url.PathUnescape(rest); err != nil || word != "message" || got != text {
			t.Errorf("%s: the channel got %q, %q, %v", command, word, got, err)
		}
	}
}

func TestProxyFromEnvironment(t *testing.T) {
	tests := []struct {
		name string
		env  map[string]string
		want Proxy
	}{
		{"none", map[string]string{"no_proxy": "x"}, Proxy{}},
		{"upper case first", map[string]string{"HTTP_PROXY": "http://a:1/", "http_proxy": "http://b:2", "NO_PROXY": "x, y"},
			Proxy{HTTP: "http://a:1", No: "x,y,localhost,127.0.0.1,10.0.2.2,10.0.2.15,vm"}},
		{"on the host's loopback", map[string]string{"http_proxy": "http://localhost:3128", "https_proxy": "https://127.0.0.5:3129"},
			Proxy{HTTP: "http://10.0.2.2:3128", HTTPS: "http://10.0.2.2:3129", No: "localhost,127.0.0.1,10.0.2.2,10.0.2.15,vm"}},
		{"IPv6 loopback, credentials, no scheme", map[string]string{"http_proxy": "user:pass@[::1]:80"},
			Proxy{HTTP: "http://user:pass@10.0.2.2:80", No: "localhost,127.0.0.1,10.0.2.2,10.0.2.15,vm"}},
		{"all_proxy", map[string]string{"all_proxy": "http://a:1"}, Proxy{HTTP: "http://a:1", HTTPS: "http://a:1", No: "localhost,127.0.0.1,10.0.2.2,10.0.2.15,vm"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ProxyFromEnvironment(func(name string) string { return tt.env[name] }, "vm")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("proxy (-want +got):\n%s", diff)
			}
		})
	}
	for _, bad := range []string{"http://", "http://me:secret$(id)@proxy:1", "http://me:secret word@proxy", "http://x:secret\"@y"} {
		_, err := ProxyFromEnvironment(func(name string) string { return map[string]string{"HTTP_PROXY": bad}[name] })
		if !errors.Is(err, ccloudvm.ErrInvalid) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: error %v must be of class ErrInvalid and keep the password to itself", bad, err)
		}
	}
}
