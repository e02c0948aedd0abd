package stream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/coder/websocket"

	"github.com/ciaocloud/ciao/cluster"
)

// protocol is what both ends of a WebSocket must speak; another version has another name.
const protocol = "ciao-stream-1"

// socket is a Conn over a WebSocket.
type socket struct{ conn *websocket.Conn }

func newSocket(conn *websocket.Conn) (Conn, error) {
	if conn.Subprotocol() != protocol {
		_ = conn.Close(websocket.StatusPolicyViolation, "the protocol "+protocol+" is needed") // it is refused either way
		return nil, fmt.Errorf("%w: the other side does not speak %s", cluster.ErrInvalid, protocol)
	}
	conn.SetReadLimit(MaxData + 1)
	return socket{conn}, nil
}

// Accept makes a request for a WebSocket a connection; when it cannot, it has answered the request.
func Accept(w http.ResponseWriter, r *http.Request) (Conn, error) {
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{protocol}})
	if err != nil {
		return nil, fmt.Errorf("%w: not a request for a WebSocket: %w", cluster.ErrInvalid, err)
	}
	return newSocket(conn)
}

// Dial asks for a WebSocket at an https URL. client must speak HTTP/1.1, as HTTP1 sees to. The answer is there when the server
// refused, with up to 1024 bytes of its body.
func Dial(ctx context.Context, client *http.Client, url string, header http.Header) (Conn, *http.Response, error) {
	conn, answer, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPClient: client, HTTPHeader: header, Subprotocols: []string{protocol}})
	if err != nil && answer != nil && answer.StatusCode == http.StatusSwitchingProtocols {
		answer = nil // it agreed, but in the wrong way
	}
	if err != nil {
		return nil, answer, err
	}
	made, err := newSocket(conn)
	return made, nil, err
}

// HTTP1 is a copy of a transport that speaks HTTP/1.1, which WebSockets need, and nothing newer.
func HTTP1(transport *http.Transport) *http.Transport {
	own := transport.Clone()
	own.Protocols = new(http.Protocols)
	own.Protocols.SetHTTP1(true)
	own.ForceAttemptHTTP2 = false
	if own.TLSClientConfig != nil {
		own.TLSClientConfig.NextProtos = []string{"http/1.1"}
	}
	return own
}

func (s socket) Read(ctx context.Context) (Message, error) {
	kind, data, err := s.conn.Read(ctx)
	switch {
	case ctx.Err() != nil:
		return Message{}, context.Cause(ctx)
	case err != nil:
		return Message{}, left(err)
	case kind != websocket.MessageBinary || len(data) == 0:
		return Message{}, fmt.Errorf("%w: a message of a stream is binary and has a channel", cluster.ErrInvalid)
	}
	return Message{Channel(data[0]), data[1:]}, nil
}

func (s socket) Write(ctx context.Context, m Message) error {
	data := make([]byte, 1, 1+len(m.Data))
	data[0] = byte(m.Channel)
	err := s.conn.Write(ctx, websocket.MessageBinary, append(data, m.Data...))
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return left(err)
	}
	return nil
}

func (s socket) Close() {
	_ = s.conn.Close(websocket.StatusNormalClosure, "") // the other side may have been quicker
}

func left(err error) error {
	var closed websocket.CloseError
	if errors.As(err, &closed) && closed.Reason != "" {
		return fmt.Errorf("%w: %s", ErrLeft, closed.Reason)
	}
	return fmt.Errorf("%w: %w", ErrLeft, err)
}

// Path is where a controller waits for nodes; the id of the stream follows.
const Path = "/v1/streams/"

// secretPrefix is that of the header Authorization (RFC 6750).
const secretPrefix = "Bearer "

// SecretOf is the secret that a node's request for a stream carries.
func SecretOf(r *http.Request) string {
	header := r.Header.Get("Authorization")
	if len(header) < len(secretPrefix) || header[:len(secretPrefix)] != secretPrefix {
		return ""
	}
	return header[len(secretPrefix):]
}

// Dialer is how a node reaches controllers.
type Dialer struct {
	Roots       *x509.CertPool                   // that the controller's certificate must lead to
	Certificate func() (*tls.Certificate, error) // the node's own; asked each time, so that it can be renewed
	Admit       func(*x509.Certificate) error    // may refuse a valid certificate of a controller, for revocation; nil admits all
	// Transport opens the TCP connection to an address (host:port); nil dials as the process does.
	Transport func(ctx context.Context, address string) (net.Conn, error)
}

// Dial joins the stream that the controller at address (host:port) has opened for this node.
func (d Dialer) Dial(ctx context.Context, address, id, secret string) (Conn, error) {
	own := HTTP1(d.HTTP())
	defer own.CloseIdleConnections() // one on which the controller refused would stay until it is tired of it
	conn, _, err := Dial(ctx, &http.Client{Transport: own}, "https://"+address+Path+id, http.Header{"Authorization": {secretPrefix + secret}})
	if err != nil {
		return nil, fmt.Errorf("%w: reach the controller at %s for a stream: %w", cluster.ErrUnavailable, address, err)
	}
	return conn, nil
}

// HTTP is how the node speaks to controllers otherwise, by the same rules. The caller closes its idle connections.
func (d Dialer) HTTP() *http.Transport {
	transport := &http.Transport{TLSClientConfig: &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: d.Roots,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return d.Certificate() },
		VerifyConnection:     d.admit,
	}}
	if d.Transport != nil {
		transport.DialContext = func(ctx context.Context, _, address string) (net.Conn, error) { return d.Transport(ctx, address) }
	}
	return transport
}

// admit judges a controller whose certificate has been verified.
func (d Dialer) admit(connection tls.ConnectionState) error {
	if d.Admit == nil {
		return nil
	}
	return d.Admit(connection.PeerCertificates[0])
}
