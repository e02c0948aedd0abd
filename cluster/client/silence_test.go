package client

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ciaocloud/ciao/cluster/api"
)

// mute is a server that says its first word and no other.
type mute struct{ connections int }

func (m *mute) RoundTrip(request *http.Request) (*http.Response, error) {
	m.connections++
	reader, writer := io.Pipe()
	context.AfterFunc(request.Context(), func() { _ = writer.CloseWithError(request.Context().Err()) })
	first := strings.NewReader("event: change\ndata: {\"type\":\"resync\"}\n\n")
	return &http.Response{StatusCode: http.StatusOK, Body: struct {
		io.Reader
		io.Closer
	}{io.MultiReader(first, reader), reader}}, nil
}

// TestSilentStreamIsLost: a connection that died without a word must not hold a watch for ever.
func TestSilentStreamIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &mute{}
		c := &Client{base: &url.URL{Scheme: "https", Host: "controller"}, http: &http.Client{Transport: server}}
		began := time.Now()
		var after []time.Duration
		for change, err := range c.Watch(t.Context(), api.ChangeInstance) {
			if err != nil || change.Type != api.ChangeResync {
				t.Fatalf("change %+v, error %v", change, err)
			}
			if after = append(after, time.Since(began)); len(after) == 3 {
				break
			}
		}
		if after[0] != 0 || after[1] < silence || after[2] < 2*silence || after[2] > 2*silence+2*reconnectTo {
			t.Errorf("resynchronised after %v, want once more after each %v of silence", after, silence)
		}
		if server.connections != 3 {
			t.Errorf("%d connections, want 3", server.connections)
		}
	})
}
