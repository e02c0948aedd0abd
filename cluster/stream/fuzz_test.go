package stream_test

import (
	"context"
	"io"
	"testing"

	"github.com/ciaocloud/ciao/cluster/stream"
	"github.com/ciaocloud/ciao/cluster/stream/streamtest"
)

// messages are what a peer without manners sends: of each run of bytes the first is the channel and the second the length.
func messages(data []byte) (list []stream.Message) {
	for len(data) >= 2 {
		n := min(int(data[1]), len(data)-2)
		list = append(list, stream.Message{Channel: stream.Channel(data[0]), Data: data[2 : 2+n]})
		data = data[2+n:]
	}
	return list
}

func addMessages(f *testing.F) {
	f.Add([]byte{0, 3, 'a', 'b', 'c', 0, 0})
	f.Add([]byte{3, 4, 0, 80, 0, 24, 3, 1, 0})
	f.Add([]byte{1, 2, 'o', 'k', 4, 4, 255, 255, 255, 255, 5, 2, '{', '}'})
	f.Add([]byte("\x05\x16{\"class\":\"conflict\",1}"))
}

// FuzzServe: whatever a user sends, the node's end neither panics nor hangs.
func FuzzServe(f *testing.F) {
	addMessages(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		user, node := streamtest.Pipe()
		served := make(chan struct{})
		go func() {
			defer close(served)
			_ = stream.Serve(t.Context(), node, func(ctx context.Context, ends stream.Ends) (int, error) { // how it ends is not the question
				_, err := io.Copy(io.Discard, ends.Input)
				return 0, err
			})
		}()
		go drain(t.Context(), user)
		for _, m := range messages(data) {
			if user.Write(t.Context(), m) != nil {
				break
			}
		}
		user.Close()
		<-served
	})
}

// FuzzAttend: whatever a node sends, the user's end neither panics nor hangs.
func FuzzAttend(f *testing.F) {
	addMessages(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		user, node := streamtest.Pipe()
		attended := make(chan struct{})
		go func() {
			defer close(attended)
			_, _ = stream.Attend(t.Context(), user, stream.Terminal{Input: zeros{}, Output: io.Discard, Errors: io.Discard})
		}()
		go drain(t.Context(), node)
		for _, m := range messages(data) {
			if node.Write(t.Context(), m) != nil {
				break
			}
		}
		node.Close()
		<-attended
	})
}

// drain reads what comes.
func drain(ctx context.Context, conn stream.Conn) {
	for {
		if _, err := conn.Read(ctx); err != nil {
			return
		}
	}
}
