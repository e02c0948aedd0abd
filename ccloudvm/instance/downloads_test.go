package instance

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestDownloads(t *testing.T) {
	hits := 0
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/file" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("ETag", `"1"`)
		if r.Header.Get("If-None-Match") == `"1"` {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		hits++
		fmt.Fprint(w, "content")
	}))
	defer site.Close()
	d, err := serveDownloads(t.TempDir(), http.DefaultClient)
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	get := func(path, url string) (int, string) {
		resp, err := http.Get("http://" + d.listener.Addr().String() + "/" + path + "?url=" + url)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode, readAll(t, resp)
	}
	for range 3 {
		if code, body := get(d.token, site.URL+"/file"); code != http.StatusOK || body != "content" {
			t.Fatalf("download = %d %q", code, body)
		}
	}
	if hits != 1 {
		t.Errorf("the site was asked for the content %d times, want once", hits)
	}
	for _, tt := range []struct {
		path, url string
		want      int
	}{{"wrong", site.URL + "/file", http.StatusNotFound}, {d.token, "file:///etc/shadow", http.StatusBadRequest}, {d.token, site.URL + "/none", http.StatusBadGateway}} {
		if code, _ := get(tt.path, tt.url); code != tt.want {
			t.Errorf("GET %s of %s = %d, want %d", tt.path, tt.url, code, tt.want)
		}
	}
	site.Close()
	if code, body := get(d.token, site.URL+"/file"); code != http.StatusOK || body != "content" {
		t.Errorf("with the site gone: %d %q", code, body)
	}
}

func readAll(t *testing.T, resp *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
