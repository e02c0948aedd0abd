package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/ciaocloud/ciao/cluster"
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

// TestSilentBackupIsGivenUp: half a backup is an error in time.
func TestSilentBackupIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &Client{base: &url.URL{Scheme: "https", Host: "controller"}, http: &http.Client{Transport: &mute{}}}
		began := time.Now()
		if err := c.Snapshot(t.Context(), io.Discard); !errors.Is(err, cluster.ErrTimeout) || time.Since(began) != silence {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}

// brokenOff is a server whose answer ends with an error.
type brokenOff struct{}

func (brokenOff) RoundTrip(*http.Request) (*http.Response, error) {
	body := io.MultiReader(strings.NewReader("half"), iotest.ErrReader(io.ErrUnexpectedEOF))
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(body)}, nil
}

func TestBackupThatBreaksOff(t *testing.T) {
	c := &Client{base: &url.URL{Scheme: "https", Host: "controller"}, http: &http.Client{Transport: brokenOff{}}}
	var out strings.Builder
	if err := c.Snapshot(t.Context(), &out); !errors.Is(err, cluster.ErrUnavailable) || !strings.Contains(err.Error(), "try again") || out.String() != "half" {
		t.Errorf("%q and %v", out.String(), err)
	}
	full := errors.New("no space left on device")
	if err := c.Snapshot(t.Context(), fullDisk{full}); !errors.Is(err, full) {
		t.Errorf("a full disk: %v", err)
	}
}

// fullDisk fails.
type fullDisk struct{ err error }

func (w fullDisk) Write([]byte) (int, error) { return 0, w.err }

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
