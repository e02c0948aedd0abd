package container_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/docker/docker/api/types/image"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver/container/localimage"
	"github.com/ciaocloud/ciao/require"
)

// registry serves one image (OCI distribution specification, the pull half) and counts the fetches of its layer.
type registry struct {
	server *httptest.Server
	blobs  map[string][]byte
	layer  string
	pulls  atomic.Int32
}

const manifestType = "application/vnd.docker.distribution.manifest.v2+json"

func newRegistry(t *testing.T) *registry {
	t.Helper()
	layer, uncompressed := busyboxLayer(t)
	r := &registry{blobs: map[string][]byte{}}
	config, _ := json.Marshal(map[string]any{
		"architecture": "amd64", "os": "linux", "config": map[string]any{"Cmd": []string{"/busybox", "sleep", "1000"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{uncompressed}},
	})
	r.layer = r.add(layer)
	manifest, _ := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": manifestType,
		"config": map[string]any{"mediaType": "application/vnd.docker.container.image.v1+json", "size": len(config), "digest": r.add(config)},
		"layers": []any{map[string]any{"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "size": len(layer), "digest": r.layer}},
	})
	digest := r.add(manifest)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v2/", func(w http.ResponseWriter, q *http.Request) {
		switch name := q.URL.Path[strings.LastIndex(q.URL.Path, "/")+1:]; {
		case name == "": // the version check
		case name == "1" || name == digest:
			w.Header().Set("Content-Type", manifestType)
			w.Header().Set("Docker-Content-Digest", digest)
			w.Write(manifest)
		case r.blobs[name] != nil:
			if name == r.layer {
				r.pulls.Add(1)
			}
			w.Write(r.blobs[name])
		default:
			w.WriteHeader(http.StatusNotFound)
			w.Write([]byte(`{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}`))
		}
	})
	r.server = httptest.NewServer(mux)
	t.Cleanup(r.server.Close)
	return r
}

func (r *registry) add(blob []byte) (digest string) {
	digest = sum(blob)
	r.blobs[digest] = blob
	return digest
}

func sum(blob []byte) string {
	hash := sha256.Sum256(blob)
	return "sha256:" + hex.EncodeToString(hash[:])
}

func busyboxLayer(t *testing.T) (compressed []byte, uncompressed string) {
	t.Helper()
	program, err := os.ReadFile(localimage.BusyboxPath)
	if err != nil {
		t.Fatal(err)
	}
	var plain, packed bytes.Buffer
	archive := tar.NewWriter(&plain)
	archive.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "busybox", Mode: 0o755, Size: int64(len(program))})
	archive.Write(program)
	archive.Close()
	compressor := gzip.NewWriter(&packed)
	compressor.Write(plain.Bytes())
	compressor.Close()
	return packed.Bytes(), sum(plain.Bytes())
}

// TestPull has many instances ask for one image that only a registry has.
func TestPull(t *testing.T) {
	require.Docker(t)
	r, engine := newRegistry(t), dial(t, "")
	host := strings.TrimPrefix(r.server.URL, "http://")
	reference := host + "/nested/busybox:1"
	t.Cleanup(func() {
		if _, err := engine.ImageRemove(context.Background(), reference, image.RemoveOptions{}); err != nil {
			t.Errorf("remove the pulled image: %v", err)
		}
	})
	n := newNode(t, "")
	var all sync.WaitGroup
	var told atomic.Int32
	for range 8 {
		instance := n.instance(t, "")
		instance.Spec.Image, instance.Spec.Command = reference, nil
		all.Go(func() {
			err := n.driver.Create(t.Context(), instance, func(step, message string) {
				if step == "pull" && message != "" {
					told.Add(1)
				}
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got := r.pulls.Load(); got != 1 {
		t.Errorf("the layer was fetched %d times, want once", got)
	}
	if told.Load() == 0 {
		t.Error("nobody was told of the pull")
	}
	unknown := n.instance(t, "")
	unknown.Spec.Image = host + "/nested/busybox:2"
	err := n.driver.Create(t.Context(), unknown, nil)
	if !errors.Is(err, cluster.ErrNotFound) || !strings.Contains(err.Error(), "manifest unknown") {
		t.Errorf("an image that the registry lacks: %v", err)
	}
}

// TestUnknownCommand wants the engine's words and a class that says that trying again is no use.
func TestUnknownCommand(t *testing.T) {
	require.Docker(t)
	n := newNode(t, "")
	instance := n.instance(t, "")
	instance.Spec.Command = []string{"/no/such/program"}
	if err := n.driver.Create(t.Context(), instance, nil); err != nil {
		t.Fatal(err)
	}
	err := n.driver.Start(t.Context(), instance.ID)
	if !errors.Is(err, cluster.ErrInvalid) || !strings.Contains(err.Error(), "/no/such/program") {
		t.Errorf("start of an unknown command: %v", err)
	}
	if err := n.driver.Delete(t.Context(), instance.ID); err != nil {
		t.Error(err)
	}
}
