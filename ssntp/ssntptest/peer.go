package ssntptest

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/ssntp"
)

// Packet is a frame as bytes on the wire, to be bent as a test likes.
type Packet struct {
	Version, Kind, Number, Flags byte
	Length                       uint32 // of the payload; 0 means the true one
	Message, Ack                 uint64
	Options                      []byte
	Payload                      []byte
}

// Control kinds and numbers, from docs/ssntp.md.
const (
	KindControl     = 5
	NumberHello     = 1
	NumberWelcome   = 2
	NumberGoodbye   = 3
	NumberHeartbeat = 4
)

// Bytes draws the packet.
func (p Packet) Bytes() []byte {
	length := p.Length
	if length == 0 {
		length = uint32(len(p.Payload))
	}
	b := []byte{p.Version, p.Kind, p.Number, p.Flags}
	b = binary.BigEndian.AppendUint32(b, length)
	b = binary.BigEndian.AppendUint64(b, p.Message)
	b = binary.BigEndian.AppendUint64(b, p.Ack)
	b = binary.BigEndian.AppendUint16(b, uint16(len(p.Options)))
	b = append(b, 0, 0)
	return append(append(b, p.Options...), p.Payload...)
}

// ReadPacket reads one packet.
func ReadPacket(r io.Reader) (Packet, error) {
	head := make([]byte, 28)
	if _, err := io.ReadFull(r, head); err != nil {
		return Packet{}, err
	}
	p := Packet{
		Version: head[0], Kind: head[1], Number: head[2], Flags: head[3],
		Length:  binary.BigEndian.Uint32(head[4:]),
		Message: binary.BigEndian.Uint64(head[8:]),
		Ack:     binary.BigEndian.Uint64(head[16:]),
		Options: make([]byte, binary.BigEndian.Uint16(head[24:])),
	}
	p.Payload = make([]byte, p.Length)
	if _, err := io.ReadFull(r, p.Options); err != nil {
		return p, err
	}
	_, err := io.ReadFull(r, p.Payload)
	return p, err
}

// To makes a numbered packet for an operand with a destination.
func To(operand ssntp.Operand, message uint64, destination ssntp.ID, payload string) Packet {
	p := Packet{Version: 1, Kind: byte(operand.Kind()), Number: operand.Number(), Message: message, Payload: []byte(payload)}
	if !destination.IsZero() {
		p.Flags, p.Options = 0x02, destination[:]
	}
	return p
}

// Greeting is the payload of hello and welcome.
type Greeting struct {
	ID                             ssntp.ID
	Roles                          ssntp.Role
	Session, Incarnation           ssntp.ID
	Epoch, Received                uint64
	Frames, Window, Max, Heartbeat uint32
	Resumed                        bool
}

// Bytes draws the greeting.
func (g Greeting) Bytes() []byte {
	var b bytes.Buffer
	for _, field := range []any{g.ID, uint32(g.Roles), g.Session, g.Incarnation, g.Epoch, g.Received, g.Frames, g.Window, g.Max, g.Heartbeat, g.Resumed} {
		binary.Write(&b, binary.BigEndian, field) // a bytes.Buffer takes everything
	}
	return b.Bytes()
}

// ParseGreeting reads a greeting.
func ParseGreeting(b []byte) (g Greeting, err error) {
	r := bytes.NewReader(b)
	for _, field := range []any{&g.ID, &g.Roles, &g.Session, &g.Incarnation, &g.Epoch, &g.Received, &g.Frames, &g.Window, &g.Max, &g.Heartbeat, &g.Resumed} {
		err = errors.Join(err, binary.Read(r, binary.BigEndian, field))
	}
	return g, err
}

// Peer is a scripted client: it does what the test says and nothing by itself.
type Peer struct {
	Conn     *tls.Conn
	Raw      net.Conn
	Greeting Greeting // what Hello will send
}

// Peer dials the hub and does the TLS handshake with a certificate.
func (h *Hub) Peer(tb testing.TB, certificate *tls.Certificate) (*Peer, error) {
	tb.Helper()
	raw, err := h.network().Dial(tb.Context(), Address)
	if err != nil {
		return nil, err
	}
	tb.Cleanup(func() { raw.Close() })
	conn := tls.Client(raw, &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{"ssntp/1"}, ServerName: ServerName,
		RootCAs: h.CA.Roots(), Certificates: []tls.Certificate{*certificate},
	})
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	identity, err := ssntp.IdentityOf(certificate.Leaf)
	if err != nil {
		identity = ssntp.Identity{ID: ssntp.NewID(), Roles: ssntp.RoleAgent}
	}
	return &Peer{Conn: conn, Raw: raw, Greeting: Greeting{
		ID: identity.ID, Roles: identity.Roles, Session: ssntp.NewID(), Epoch: 1,
		Frames: 1024, Window: 4 << 20, Max: 1 << 20, Heartbeat: 2000,
	}}, nil
}

// Hello does the SSNTP handshake and returns the welcome.
func (p *Peer) Hello() (Greeting, error) {
	if err := p.Send(Packet{Version: 1, Kind: KindControl, Number: NumberHello, Payload: p.Greeting.Bytes()}); err != nil {
		return Greeting{}, err
	}
	answer, err := p.Read()
	if err != nil {
		return Greeting{}, err
	}
	if answer.Kind == KindControl && answer.Number == NumberGoodbye {
		return Greeting{}, Goodbye{binary.BigEndian.Uint16(answer.Payload), string(answer.Payload[2:])}
	}
	if answer.Kind != KindControl || answer.Number != NumberWelcome {
		return Greeting{}, fmt.Errorf("kind %d number %d instead of a welcome", answer.Kind, answer.Number)
	}
	return ParseGreeting(answer.Payload)
}

// Goodbye is the error for a connection that the hub ended with a reason.
type Goodbye struct {
	Code uint16
	Text string
}

func (g Goodbye) Error() string { return fmt.Sprintf("goodbye %d: %s", g.Code, g.Text) }

// Send writes a packet.
func (p *Peer) Send(packet Packet) error { return p.Write(packet.Bytes()) }

// Write writes bytes.
func (p *Peer) Write(b []byte) error {
	if err := p.Conn.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err := p.Conn.Write(b)
	return err
}

// Read reads the next packet.
func (p *Peer) Read() (Packet, error) {
	if err := p.Conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return Packet{}, err
	}
	return ReadPacket(p.Conn)
}

// Next reads the next packet that is no heartbeat.
func (p *Peer) Next() (Packet, error) {
	for {
		packet, err := p.Read()
		if err != nil || packet.Kind != KindControl || packet.Number != NumberHeartbeat {
			return packet, err
		}
	}
}

// Ended reads until the hub ends the connection, and returns its goodbye if
// there was one.
func (p *Peer) Ended() error {
	for {
		packet, err := p.Next()
		if err != nil {
			return err
		}
		if packet.Kind == KindControl && packet.Number == NumberGoodbye {
			return Goodbye{binary.BigEndian.Uint16(packet.Payload), string(packet.Payload[2:])}
		}
	}
}
