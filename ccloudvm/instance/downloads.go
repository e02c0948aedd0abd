package instance

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// downloads is the host's side of a workload's download function: a cache that guests fetch files through while they are being created.
// It listens on the host's loopback, which every process of the host and every guest can reach, so the path holds a secret.
type downloads struct {
	dir      string
	listener net.Listener
	server   *http.Server
	token    string
	client   *http.Client
}

func serveDownloads(dir string, client *http.Client) (*downloads, error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, hostError("the download cache cannot listen", err)
	}
	d := &downloads{dir: dir, listener: listener, token: rand.Text(), client: client}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /"+d.token, d.get)
	d.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go d.server.Serve(listener)
	return d, nil
}

func (d *downloads) close() { d.server.Close() }

func (d *downloads) get(w http.ResponseWriter, r *http.Request) {
	u, err := url.Parse(r.FormValue("url"))
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") {
		http.Error(w, "only http and https are downloaded", http.StatusBadRequest)
		return
	}
	path, err := d.fetch(r.Context(), u.String())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	http.ServeFile(w, r, path)
}

// downloadMeta is how a cached file is compared with the site's.
type downloadMeta struct {
	URL          string `json:"url"`
	ETag         string `json:"etag,omitempty"`
	LastModified string `json:"last_modified,omitempty"`
}

// fetch returns the path of a complete copy of what is at the URL: the cached one if the site says it is the newest or does not answer.
// Several guests that want one file share one download.
func (d *downloads) fetch(ctx context.Context, from string) (string, error) {
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(from))
	path := filepath.Join(d.dir, hex.EncodeToString(sum[:]))
	held, err := await(ctx, path+lockSuffix, "", 30*time.Minute)
	if err != nil {
		return "", err
	}
	defer held.release()
	var meta downloadMeta
	_, statErr := os.Stat(path)
	cached := statErr == nil && readJSON(path+".json", &meta) == nil
	resp, err := d.ask(ctx, from, meta)
	if err != nil {
		if cached {
			return path, nil
		}
		return "", err
	}
	defer resp.Body.Close()
	switch {
	case cached && (resp.StatusCode == http.StatusNotModified || resp.StatusCode >= 500):
		return path, nil
	case resp.StatusCode != http.StatusOK:
		return "", fmt.Errorf("%s answers %s", from, resp.Status)
	}
	return path, store(path, resp)
}

func (d *downloads) ask(ctx context.Context, from string, meta downloadMeta) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, err
	}
	if meta.ETag != "" {
		req.Header.Set("If-None-Match", meta.ETag)
	} else if meta.LastModified != "" {
		req.Header.Set("If-Modified-Since", meta.LastModified)
	}
	return d.client.Do(req)
}

// store keeps an answer, whole or not at all.
func store(path string, resp *http.Response) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".part-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = io.Copy(f, resp.Body)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	meta, err := json.Marshal(downloadMeta{resp.Request.URL.String(), resp.Header.Get("ETag"), resp.Header.Get("Last-Modified")})
	if err != nil {
		return err
	}
	if err := writeFile(path+".json", meta); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
