package imagecache

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/require"
)

// controller serves contents by their digests and counts the requests for each.
type controller struct {
	*httptest.Server
	contents map[string][]byte
	asked    sync.Map // digest → *atomic.Int32
	break1st bool     // the first answer breaks off in the middle
}

func newController(t *testing.T, contents ...[]byte) *controller {
	c := &controller{contents: map[string][]byte{}}
	for _, data := range contents {
		c.contents[digestOf(data)] = data
	}
	c.Server = httptest.NewTLSServer(http.HandlerFunc(c.serve))
	t.Cleanup(c.Close)
	return c
}

func (c *controller) serve(w http.ResponseWriter, r *http.Request) {
	digest := strings.TrimPrefix(r.URL.Path, api.BlobPath)
	data, found := c.contents[digest]
	if !found {
		http.Error(w, "not yours", http.StatusForbidden)
		return
	}
	n, _ := c.asked.LoadOrStore(digest, new(atomic.Int32))
	first := n.(*atomic.Int32).Add(1) == 1
	w.Header().Set("ETag", `"`+digest+`"`)
	if first && c.break1st {
		w.Header().Set("Content-Length", "1000000")
		w.Write(data[:len(data)/2])
		panic(http.ErrAbortHandler)
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}

func (c *controller) requests(data []byte) int32 {
	n, _ := c.asked.LoadOrStore(digestOf(data), new(atomic.Int32))
	return n.(*atomic.Int32).Load()
}

func (c *controller) cache(t *testing.T, limit int64) *Cache {
	t.Helper()
	cache, err := Open(t.TempDir(), limit, c.Client())
	if err != nil {
		t.Fatal(err)
	}
	return cache
}

func (c *controller) fetch(t *testing.T, cache *Cache, data []byte, used ...[]byte) (string, error) {
	t.Helper()
	inUse := func(digest string) bool {
		for _, one := range append(used, data) {
			if digestOf(one) == digest {
				return true
			}
		}
		return false
	}
	content := cluster.ImageContent{Name: "x", Digest: digestOf(data), Bytes: int64(len(data))}
	return cache.Fetch(t.Context(), content, c.Listener.Addr().String(), inUse, func(string) {})
}

// TestFullDisk: on a full disk what nobody uses makes room; where that is not enough, an image is refused in one sentence, leaves nothing, and comes when
// there is room.
func TestFullDisk(t *testing.T) {
	bulk := func(letter string) []byte { return bytes.Repeat([]byte(letter), 1<<20) }
	c := newController(t, bulk("a"), bulk("b"), bulk("c"))
	disk, fill := require.Disk(t, 4<<20)
	cache, err := Open(disk, 1<<30, c.Client())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.fetch(t, cache, bulk("a")); err != nil {
		t.Fatal(err)
	}
	free := fill(500_000)
	path, err := c.fetch(t, cache, bulk("b")) // in place of the first
	if data, _ := os.ReadFile(path); err != nil || !bytes.Equal(data, bulk("b")) {
		t.Fatalf("%d bytes, %v", len(data), err)
	}
	_, err = c.fetch(t, cache, bulk("c"), bulk("b"))
	if !errors.Is(err, cluster.ErrNoCapacity) || !strings.Contains(err.Error(), "the disk of "+disk+" is full: free some space there") || strings.Contains(err.Error(), "\n") {
		t.Errorf("on a full disk: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(disk, "partial", "*")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	free()
	if _, err := c.fetch(t, cache, bulk("c"), bulk("b")); err != nil {
		t.Errorf("when there is room: %v", err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("what is in use is gone: %v", err)
	}
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func content(letter string) []byte { return []byte(strings.Repeat(letter, 100_000)) }

func TestOneDownloadServesAll(t *testing.T) {
	c := newController(t, content("a"))
	cache := c.cache(t, 1<<20)
	var waiting sync.WaitGroup
	for range 20 {
		waiting.Go(func() {
			path, err := c.fetch(t, cache, content("a"))
			if data, _ := os.ReadFile(path); err != nil || !bytes.Equal(data, content("a")) {
				t.Errorf("%d bytes, %v", len(data), err)
			}
		})
	}
	waiting.Wait()
	if n := c.requests(content("a")); n != 1 {
		t.Errorf("asked %d times, want once", n)
	}
}

func TestDownloadThatBreaksGoesOn(t *testing.T) {
	c := newController(t, content("a"))
	c.break1st = true
	path, err := c.fetch(t, c.cache(t, 1<<20), content("a"))
	if data, _ := os.ReadFile(path); err != nil || !bytes.Equal(data, content("a")) {
		t.Errorf("%d bytes, %v", len(data), err)
	}
	if n := c.requests(content("a")); n != 2 {
		t.Errorf("asked %d times, want twice", n)
	}
}

func TestWhatIsNotGivenOrWrong(t *testing.T) {
	c := newController(t)
	cache := c.cache(t, 1<<20)
	if _, err := c.fetch(t, cache, content("a")); !errors.Is(err, cluster.ErrUnavailable) {
		t.Errorf("refused by the controller: %v, want unavailable", err)
	}
	c.contents[digestOf(content("b"))] = content("c")
	if _, err := c.fetch(t, cache, content("b")); !errors.Is(err, cluster.ErrUnavailable) {
		t.Errorf("another content: %v, want unavailable", err)
	}
	if _, err := cache.Fetch(t.Context(), cluster.ImageContent{Digest: "../x"}, "", nil, nil); !errors.Is(err, cluster.ErrInvalid) {
		t.Errorf("no digest: %v", err)
	}
}

func TestWhatNobodyUsesIsRemovedBeyondTheLimit(t *testing.T) {
	a, b, d := content("a"), content("b"), content("d")
	c := newController(t, a, b, d)
	cache := c.cache(t, 250_000)
	for _, data := range [][]byte{a, b} {
		if _, err := c.fetch(t, cache, data); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.fetch(t, cache, d, a); err != nil { // a is the oldest, and in use
		t.Fatal(err)
	}
	for _, again := range []struct {
		data []byte
		want int32
	}{{a, 1}, {d, 1}, {b, 2}} {
		if _, err := c.fetch(t, cache, again.data, a, d); err != nil || c.requests(again.data) != again.want {
			t.Errorf("%c: asked %d times, want %d, %v", again.data[0], c.requests(again.data), again.want, err)
		}
	}
}
