package image

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSourcesOfTheHost(t *testing.T) {
	list := listEntries([]byte(`# deb http://a x main
deb http://deb.debian.org/debian bookworm main contrib # comment
deb-src http://deb.debian.org/debian bookworm main
deb [arch=amd64 signed-by=/k.gpg] http://mirror/security bookworm-security main
deb http://other/repo stable main
deb http://no-main bookworm contrib
`), "bookworm")
	if d := cmp.Diff([]string{"deb http://deb.debian.org/debian bookworm main", "deb http://mirror/security bookworm-security main"}, list); d != "" {
		t.Errorf("one-line style (-want +got):\n%s", d)
	}
	deb822 := stanzas([]byte(`Types: deb deb-src
# comment
URIs: http://a/debian
 http://b/debian
Suites: bookworm bookworm-updates sid
Components: main

Types: deb
URIs: http://off
Suites: bookworm
Components: main
Enabled: no

Types: deb
URIs: http://c/security
Suites: bookworm-security
Components: main
`), "bookworm")
	want := []string{"deb http://a/debian bookworm main", "deb http://a/debian bookworm-updates main", "deb http://b/debian bookworm main",
		"deb http://b/debian bookworm-updates main", "deb http://c/security bookworm-security main"}
	if d := cmp.Diff(want, deb822); d != "" {
		t.Errorf("deb822 style (-want +got):\n%s", d)
	}
}

func TestRecipe(t *testing.T) {
	a, b := Recipe{Suite: "bookworm", Packages: []string{"nftables", "docker.io"}}, Recipe{Suite: "bookworm", Packages: []string{"docker.io", "nftables", "docker.io"}}
	if a.Digest() != b.Digest() {
		t.Error("order and repetition of packages change the digest")
	}
	if a.Digest() == (Recipe{Suite: "bookworm"}).Digest() {
		t.Error("packages do not change the digest")
	}
	if a.Digest() == (Recipe{Suite: a.Suite, Packages: a.Packages, Boots: true}).Digest() {
		t.Error("a boot loader does not change the digest")
	}
	for _, bad := range []Recipe{{Suite: "book worm"}, {Suite: "bookworm", Packages: []string{"a,b"}}, {Suite: "bookworm", Packages: []string{"--x"}}} {
		if err := bad.check(); err == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
	for _, arg := range buildArgs(a.normal(), "unshare", "/it's here") {
		if strings.HasPrefix(arg, "--customize-hook=download") && !strings.Contains(arg, `'/it'\''s here/`) {
			t.Errorf("unquoted path in %s", arg)
		}
	}
}
