package cli_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/apiserver/apiservertest"
)

// rootfs is a file with a tar and its digest.
func rootfs(t *testing.T) (name, digest string) {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	if err := w.WriteHeader(&tar.Header{Name: "motd", Mode: 0o644, Size: 5}); err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, "hello")
	w.Close()
	name = filepath.Join(t.TempDir(), "root.tar")
	if err := os.WriteFile(name, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(out.Bytes())
	return name, "sha256:" + hex.EncodeToString(sum[:])
}

func TestImages(t *testing.T) {
	start(t)
	file, digest := rootfs(t)
	if got := works(t, "create", "image", "root", "--file", file, "--digest", digest, "-f", "{{.name}} {{.state}} {{.format}} {{.digest}}"); got != "root active tar "+digest+"\n" {
		t.Errorf("created %q", got)
	}
	if got := works(t, "create", "image", "ours", "--file", file, "--visibility", "public", "-f", "{{.visibility}}"); got != "public\n" {
		t.Errorf("created %q", got)
	}
	if got := works(t, "list", "images", "-f", "{{.name}}"); got != "ours\nroot\n" {
		t.Errorf("listed %q", got)
	}
	if got := works(t, "show", "image", "root"); !strings.Contains(got, digest) {
		t.Errorf("shown %q", got)
	}
	refuses(t, 4, []string{"create", "image", "root", "--file", file}, "choose another")
	refuses(t, 2, []string{"create", "image", "x", "--file", file, "--digest", "sha256:" + strings.Repeat("0", 64)}, "damaged")
	refuses(t, 2, []string{"create", "image", "x"}, "file")
	refuses(t, 2, []string{"create", "image", "x", "--file", t.TempDir()}, "not a file")
	refuses(t, 3, []string{"create", "image", "x", "--file", file + ".nowhere"}, "no such file")
	refuses(t, 3, []string{"show", "image", "roott"}, "did you mean root?")
	works(t, "delete", "image", "root")
	refuses(t, 3, []string{"delete", "image", "root"}, "ciao list images")
}

func TestUploadThatWasCutGoesOn(t *testing.T) {
	a := start(t)
	file, digest := rootfs(t)
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	blue := a.Client(a.Tenant(apiservertest.Blue))
	if _, err := blue.CreateImage(t.Context(), api.CreateImage{Name: "root", Bytes: int64(len(data)), Digest: digest}); err != nil {
		t.Fatal(err)
	}
	if half, err := blue.UploadImage(t.Context(), "root", 0, bytes.NewReader(data[:700])); err != nil || half.Uploaded != 700 {
		t.Fatalf("%+v, %v", half, err)
	}
	if got := works(t, "create", "image", "root", "--file", file, "-f", "{{.state}} {{.uploaded}}"); got != "active 2048\n" {
		t.Errorf("went on to %q", got)
	}
}
