package workload

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
)

// FuzzWorkload feeds whole files: whatever comes in, there is an answer, and a rendered cloud-config is what it says it is.
func FuzzWorkload(f *testing.F) {
	for _, seed := range []string{
		"", "---\n...\n---\n", "---\nvm: {mem_mib: 1}\n...\n---\nruncmd: [a]\n", "vm:\n  ports:\n  - {host: 1, guest: 2}\n",
		"---\n---\n{{range .Mounts}}{{.Path}}{{end}}\n - {{beginTask . \"x\"}}\n", "---\n---\na: &x [*x]\nb: !!str 5\n", "a: |\n  b\n\x01", "--- \n? a\n: b\n",
		"---\n---\nx: {<<: {a: b}}\n", "---\n---\nx: [.inf, -.nan, 0o7, 0x1F, 1e3, ~]\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, file string) {
		ws := Workspace{Mounts: make([]Mount, 2)}
		l, err := parseLevel(Source{Origin: "w", Text: []byte(file)}, &ws)
		if err != nil {
			return
		}
		out, err := (&Workload{chain: []*level{l}}).CloudConfig(ws, "", "runcmd: [last]\n")
		if err != nil {
			return
		}
		body, ok := strings.CutPrefix(string(out), "#cloud-config\n")
		if !ok || !json.Valid([]byte(body)) {
			t.Errorf("the rendered cloud-config is not JSON:\n%s", out)
		}
	})
}

// FuzzEscape: what is escaped is plain, and comes back.
func FuzzEscape(f *testing.F) {
	f.Add("a b  c")
	f.Add(" %41\n\"'`$")
	f.Fuzz(func(t *testing.T, text string) {
		escaped := Escape(text)
		if strings.ContainsAny(escaped, "\"'`$\\\n:#<>|&;*?~![](){}") {
			t.Errorf("%q is escaped as %q", text, escaped)
		}
		if back, err := url.PathUnescape(escaped); err != nil || back != text {
			t.Errorf("%q comes back as %q, %v", text, back, err)
		}
	})
}
