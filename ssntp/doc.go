// Package ssntp is the Simple and Secure Node Transfer Protocol: the frames
// that all daemons of a cluster exchange.
//
// The scheduler is the server and hub; controllers, launchers and CNCI agents
// are clients. Servers never dial. A [Server] accepts mutually authenticated
// TLS 1.3 connections and routes frames between its peers; a [Client] keeps
// one session with one of several servers.
//
// # How it works
//
// An [Identity] (id and roles) is read from the verified certificate and from
// nowhere else. A [Frame] is an operand with a payload that this package sees
// as bytes. The table of [Rules] says which role may send which operand to
// which role; the receiver enforces it for every frame.
//
// Between two neighbours a session outlives its connections: frames are
// numbered, acknowledged cumulatively, kept until acknowledged and sent again
// after a reconnect. A new connection of the same session replaces the old one
// at once, which is also how certificates are renewed (renew.go).
//
// Arrivals are handled one at a time, in order: by a goroutine that the session
// has as long as there are any, or, when a frame comes alone, by the connection's
// reader itself, which saves two changes of goroutine; another reader stands in
// when that takes long.
//
// The rules of a session are a pure state machine (session.go); sockets,
// goroutines and clocks are at the edge (link.go, server.go, client.go).
//
// # What is guaranteed
//
//   - Between two live processes frames arrive in order, each exactly once,
//     however often the connection breaks, as long as the session is resumed
//     within [Limits].Resume. Droppable operands may be replaced by their
//     successor from the same source.
//   - When one of the two processes dies, what it had acknowledged and not
//     passed on is lost; what it had not acknowledged is sent to its successor
//     (client to server) or answered with [Undeliverable] (server to client).
//     Commands must therefore be idempotent.
//   - Frame.Source is the origin: the hub stamps it from the certificate of the
//     sender.
//   - A slow, silent or absent peer never delays the others: each destination
//     has a bounded queue, and what does not fit is answered with
//     [Undeliverable].
//
// docs/ssntp.md describes every byte, for peers in other languages.
package ssntp
