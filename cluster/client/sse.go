package client

import (
	"bufio"
	"bytes"
	"io"
	"iter"
)

// maxEvent bounds one line and the data of one event of a stream, in bytes.
const maxEvent = 4 << 20

// event is a server-sent event (WHATWG HTML, section 9.2.6). Ids and retry times are not used by ciao and dropped.
type event struct {
	name string
	data []byte // valid until the next event
}

// events reads a stream of server-sent events until it ends, breaks or holds something too large; an event that the end cut off is
// dropped. alive is called for everything that arrives, comments included.
func events(stream io.Reader, alive func()) iter.Seq[event] {
	return func(yield func(event) bool) {
		lines := bufio.NewScanner(stream)
		lines.Buffer(nil, maxEvent)
		var next event
		for lines.Scan() {
			alive()
			line := lines.Bytes()
			if len(line) == 0 {
				if len(next.data) > 0 && !yield(next) {
					return
				}
				next = event{data: next.data[:0]}
				continue
			}
			field, value, _ := bytes.Cut(line, []byte(":"))
			value = bytes.TrimPrefix(value, []byte(" "))
			switch string(field) {
			case "event":
				next.name = string(value)
			case "data":
				if len(next.data) > 0 {
					next.data = append(next.data, '\n')
				}
				next.data = append(next.data, value...)
			}
			if len(next.data) > maxEvent {
				return
			}
		}
	}
}
