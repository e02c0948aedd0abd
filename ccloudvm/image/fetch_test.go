package image_test

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/ccloudvm/image"
	"github.com/ciaocloud/ciao/require"
)

// site is a download site with one image.
type site struct {
	*httptest.Server
	content  []byte
	requests atomic.Int32
	bytes    atomic.Int64
	breakAt  atomic.Int64 // the first answer breaks off after so many bytes
	hold     chan struct{}
}

func newSite(t *testing.T, content []byte) *site {
	t.Helper()
	s := &site{content: content}
	mux := http.NewServeMux()
	mux.HandleFunc("/SHA512SUMS", func(w http.ResponseWriter, _ *http.Request) {
		sum := sha512.Sum512(s.content)
		fmt.Fprintf(w, "%0128x  other.qcow2\n%s  disk.img\n", 0, hex.EncodeToString(sum[:]))
	})
	mux.HandleFunc("/disk.img", func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		if s.hold != nil {
			<-s.hold
		}
		w.Header().Set("ETag", `"v1"`)
		counted := &counter{ResponseWriter: w, site: s}
		http.ServeContent(counted, r, "disk.img", time.Time{}, bytes.NewReader(s.content))
	})
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

func (s *site) source() image.Source {
	return image.Source{URL: s.URL + "/disk.img", SumsURL: s.URL + "/SHA512SUMS"}
}

type counter struct {
	http.ResponseWriter
	site *site
}

func (c *counter) Write(b []byte) (int, error) {
	if most := c.site.breakAt.Load(); most > 0 && c.site.bytes.Load()+int64(len(b)) > most {
		c.site.breakAt.Store(0)
		panic(http.ErrAbortHandler)
	}
	n, err := c.ResponseWriter.Write(b)
	c.site.bytes.Add(int64(n))
	return n, err
}

func open(t *testing.T) *image.Store {
	t.Helper()
	require.QEMU(t)
	s, err := image.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func content() []byte { return bytes.Repeat([]byte("0123456789abcdef"), 64<<10) } // 1 MiB

func TestFetchOnceForMany(t *testing.T) {
	web, store := newSite(t, content()), open(t)
	second, err := image.Open(store.Dir) // as another process would
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	for i := range 30 {
		wait.Go(func() {
			s := []*image.Store{store, second}[i%2]
			img, err := s.Fetch(t.Context(), web.source(), nil)
			if err != nil || img.Format != "raw" || !strings.HasPrefix(img.Digest, "sha512:") {
				t.Errorf("Fetch = %+v, %v", img, err)
			}
		})
	}
	wait.Wait()
	if n := web.requests.Load(); n != 1 {
		t.Errorf("%d downloads, want 1", n)
	}
}

func TestFetchGoesOnWhereItBrokeOff(t *testing.T) {
	web, store := newSite(t, content()), open(t)
	web.breakAt.Store(600 << 10)
	var last image.Progress
	img, err := store.Fetch(t.Context(), web.source(), func(p image.Progress) { last = p })
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(img.Disk); err != nil || !bytes.Equal(got, web.content) {
		t.Errorf("the content is another one (%d bytes, %v)", len(got), err)
	}
	if sent := web.bytes.Load(); sent != int64(len(web.content)) || web.requests.Load() != 2 {
		t.Errorf("%d bytes in %d requests were sent, want %d in 2", sent, web.requests.Load(), len(web.content))
	}
	if last.Done != last.Total || last.Total != int64(len(web.content)) {
		t.Errorf("last progress = %+v", last)
	}
}

func TestFetchOfflineUsesWhatWasVerified(t *testing.T) {
	web, store := newSite(t, content()), open(t)
	first, err := store.Fetch(t.Context(), web.source(), nil)
	if err != nil {
		t.Fatal(err)
	}
	web.Close()
	second, err := store.Fetch(t.Context(), web.source(), nil)
	if err != nil || second.Disk != first.Disk {
		t.Errorf("Fetch = %+v, %v; want %s", second, err, first.Disk)
	}
}

func TestFetchRefuses(t *testing.T) {
	web := newSite(t, content())
	silent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	t.Cleanup(silent.Close)
	for _, c := range []struct {
		name   string
		source image.Source
		want   error
		text   string
	}{
		{"wrong digest", image.Source{URL: web.URL + "/disk.img", Digest: "sha256:" + strings.Repeat("0", 64)}, image.ErrDigest, "try again"},
		{"malformed digest", image.Source{URL: web.URL + "/disk.img", Digest: "md5:00"}, nil, `digest "md5:00"`},
		{"not listed", image.Source{URL: web.URL + "/absent.img", SumsURL: web.URL + "/SHA512SUMS"}, image.ErrDigest, "does not list"},
		{"absent", image.Source{URL: web.URL + "/absent.img"}, image.ErrUnreachable, "404"},
		{"nobody there", image.Source{URL: "http://127.0.0.1:1/x"}, image.ErrUnreachable, ""},
		{"falls silent", image.Source{URL: silent.URL + "/x"}, image.ErrUnreachable, "nothing came for"},
		{"no URL", image.Source{URL: "ftp://x/y"}, nil, "want an http, https or file URL"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			store := open(t)
			store.Stall = 300 * time.Millisecond
			_, err := store.Fetch(t.Context(), c.source, nil)
			if err == nil || (c.want != nil && !errors.Is(err, c.want)) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("Fetch = %v, want %v and %q", err, c.want, c.text)
			}
			if blobs, _ := os.ReadDir(filepath.Join(store.Dir, "blobs")); len(blobs) != 0 {
				t.Errorf("left %v", blobs)
			}
		})
	}
}

func TestFetchIsCancelledWithItsLastCaller(t *testing.T) {
	web, store := newSite(t, content()), open(t)
	web.hold = make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := store.Fetch(ctx, web.source(), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Fetch = %v, want Canceled", err)
	}
	close(web.hold)
	if _, err := store.Fetch(t.Context(), web.source(), nil); err != nil {
		t.Errorf("the next Fetch = %v", err)
	}
}

func TestForeignBackingFilesAreRefused(t *testing.T) {
	store, dir := open(t), t.TempDir()
	secret, evil := filepath.Join(dir, "secret"), filepath.Join(dir, "evil.qcow2")
	if err := os.WriteFile(secret, bytes.Repeat([]byte("s"), 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", secret, evil).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	if _, err := store.Fetch(t.Context(), image.Source{URL: "file://" + evil}, nil); !errors.Is(err, image.ErrUnsafe) {
		t.Errorf("Fetch = %v, want ErrUnsafe", err)
	}
}

func TestOverlay(t *testing.T) {
	store, path := open(t), filepath.Join(t.TempDir(), "disk.qcow2")
	web := newSite(t, content())
	img, err := store.Fetch(t.Context(), web.source(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := image.Overlay(t.Context(), img, path, 2<<30); err != nil {
		t.Fatal(err)
	}
	info, err := image.Inspect(t.Context(), path)
	if !errors.Is(err, image.ErrUnsafe) || info.VirtualBytes != 2<<30 || info.Backing != img.Disk || info.ActualBytes > 1<<20 {
		t.Errorf("Inspect = %+v, %v; want a small overlay of 2 GiB", info, err)
	}
}

func TestEnsureNamesWhatThereIs(t *testing.T) {
	_, err := open(t).Ensure(t.Context(), image.Request{Name: "debain"}, nil)
	if !errors.Is(err, image.ErrUnknown) || !strings.Contains(err.Error(), "debian-12") {
		t.Errorf("Ensure = %v", err)
	}
}
