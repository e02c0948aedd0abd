package apiserver

import (
	"net/http"
	"time"

	"github.com/ciaocloud/ciao/cluster/stream"
)

// onePiece bounds what is written with one deadline, in bytes: a long answer to a slow reader who does read takes as long as it takes.
const onePiece = 64 << 10

// patiently ends an answer whose reader takes nothing of it for stream.Patience, and over HTTP/2 leaves the connection's others alone.
// What has nothing to say (a watch, a log that is followed) may be silent for as long as it likes.
func patiently(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := &patientWriter{w, http.NewResponseController(w)}
		defer p.limit() // what is in buffers is written when the handlers are done
		next.ServeHTTP(p, r)
	})
}

// patientWriter has a deadline while something is written, and none in between: over HTTP/2 one that passes ends a silent answer.
type patientWriter struct {
	http.ResponseWriter
	control *http.ResponseController
}

// An error of a deadline is that of a connection which is gone, or carried a WebSocket: the write that follows finds out.
func (p *patientWriter) limit()   { _ = p.control.SetWriteDeadline(time.Now().Add(stream.Patience)) }
func (p *patientWriter) unlimit() { _ = p.control.SetWriteDeadline(time.Time{}) }

func (p *patientWriter) Write(data []byte) (written int, err error) {
	defer p.unlimit()
	for {
		p.limit()
		n, err := p.ResponseWriter.Write(data[written:min(len(data), written+onePiece)])
		if written += n; err != nil || written == len(data) {
			return written, err
		}
	}
}

// FlushError is Flush for http.ResponseController.
func (p *patientWriter) FlushError() error {
	p.limit()
	defer p.unlimit()
	return p.control.Flush()
}

// Flush implements http.Flusher.
func (p *patientWriter) Flush() { _ = p.FlushError() }

// Unwrap is for http.ResponseController.
func (p *patientWriter) Unwrap() http.ResponseWriter { return p.ResponseWriter }
