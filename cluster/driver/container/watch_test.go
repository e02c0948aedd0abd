package container

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestEngineThatGoesAwayIsToldAtOnce: whoever watches looks, and finds it away, before anything is wanted of it.
func TestEngineThatGoesAwayIsToldAtOnce(t *testing.T) {
	die := make(chan struct{})
	var streams atomic.Int32
	engine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Api-Version", "1.41")
		switch {
		case !strings.HasSuffix(r.URL.Path, "/events"):
		case streams.Add(1) == 1:
			_ = http.NewResponseController(w).Flush()
			<-die
		default: // it is not back yet
			<-r.Context().Done()
		}
	}))
	defer engine.Close()
	d, err := New(Config{Cluster: "test", Node: "n", Host: "tcp://" + strings.TrimPrefix(engine.URL, "http://")})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	changes := d.Watch(t.Context())
	told := func(when string) {
		t.Helper()
		select {
		case id := <-changes:
			if id != "" {
				t.Errorf("%s: told of %q", when, id)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%s: not told", when)
		}
	}
	told("at the beginning")
	close(die)
	told("when the engine has gone")
}
