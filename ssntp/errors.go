package ssntp

import "errors"

// Classes of errors, for [errors.Is].
var (
	// ErrClosed: the client or server has ended.
	ErrClosed = errors.New("ssntp: closed")
	// ErrTooLarge: the payload is larger than Limits.Payload.
	ErrTooLarge = errors.New("ssntp: payload too large")
	// ErrNotAuthorized: the authority table forbids it.
	ErrNotAuthorized = errors.New("ssntp: not authorized")
	// ErrUndeliverable: the destination is not connected, or its queue is full.
	ErrUndeliverable = errors.New("ssntp: undeliverable")
	// ErrInvalidFrame: the frame breaks the protocol.
	ErrInvalidFrame = errors.New("ssntp: invalid frame")
	// ErrSuperseded: another process with the same identity has connected.
	ErrSuperseded = errors.New("ssntp: superseded by another process with the same identity")
	// ErrRefused: the other side ended the connection and said why.
	ErrRefused = errors.New("ssntp: connection refused by peer")
	// ErrSilent: the other side sent nothing for longer than Limits.Silence.
	ErrSilent = errors.New("ssntp: peer is silent")
	// ErrExpired: a certificate of the connection has expired.
	ErrExpired = errors.New("ssntp: certificate expired")

	errQueueFull = errors.New("the queue is full")
)
