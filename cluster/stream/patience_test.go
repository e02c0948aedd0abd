package stream_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster/stream"
	"github.com/ciaocloud/ciao/cluster/stream/streamtest"
)

// chatter prints until nobody listens.
func chatter(_ context.Context, ends stream.Ends) (int, error) {
	for {
		if _, err := ends.Output.Write(make([]byte, stream.MaxData)); err != nil {
			return 0, err
		}
	}
}

// paused is a terminal that takes nothing until it goes on.
type paused chan struct{}

func (p paused) Write(data []byte) (int, error) {
	<-p
	return len(data), nil
}

// TestUserWhoDoesNotReadHasLeft: nobody waits for him for ever, and he is told why when he goes on.
func TestUserWhoDoesNotReadHasLeft(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := join(t.Context(), chatter)
		terminal, attended := make(paused), make(chan error, 1)
		go func() {
			_, err := stream.Attend(t.Context(), j.user, stream.Terminal{Output: terminal})
			attended <- err
		}()
		began := time.Now()
		if err := <-j.join; !errors.Is(err, stream.ErrUnread) || time.Since(began) != stream.Patience {
			t.Errorf("after %v: %v, want the user given up after %v", time.Since(began), err, stream.Patience)
		}
		if err := <-j.served; !errors.Is(err, stream.ErrLeft) {
			t.Errorf("the node's end: %v", err)
		}
		close(terminal)
		if err := <-attended; !errors.Is(err, stream.ErrUnread) {
			t.Errorf("the user is told %v", err)
		}
	})
}

// TestUserWhoPauses: a pause that is short enough costs nothing.
func TestUserWhoPauses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := join(t.Context(), func(_ context.Context, ends stream.Ends) (int, error) {
			for range 3 {
				if _, err := ends.Output.Write([]byte("x")); err != nil {
					return 0, err
				}
			}
			return 7, nil
		})
		terminal := make(paused)
		time.AfterFunc(stream.Patience-time.Second, func() { close(terminal) })
		if code, err := stream.Attend(t.Context(), j.user, stream.Terminal{Output: terminal}); code != 7 || err != nil {
			t.Errorf("code %d, %v", code, err)
		}
		if err := errors.Join(<-j.served, <-j.join); err != nil {
			t.Error(err)
		}
	})
}

// TestNodeLeavesAFrozenController: its goroutines and its place among the streams of the node are not lost for ever.
func TestNodeLeavesAFrozenController(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, node := streamtest.Pipe()
		began := time.Now()
		if err := stream.Serve(t.Context(), node, chatter); err == nil || time.Since(began) != stream.Patience {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}
