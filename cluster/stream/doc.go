// Package stream is what passes between a user and an instance while its log is read or a command is executed in it.
//
// A stream has three parties: the user, the controller, which joins two connections, and the launcher of the instance's node, which
// dials the controller when it is told to. It is a sequence of messages, each of one Channel; a message is one byte for the
// channel and its data, carried as a binary message of a WebSocket (RFC 6455). Attend is the user's end, Join is between, Serve is the
// node's end. They know connections by the interface Conn only.
//
// What is guaranteed: a stream holds no more than a Window of input and a few messages at any place; a party that is slow makes the
// others wait and nothing else, and one that takes nothing for Patience has left. Whoever leaves ends the stream for the others: every reader keeps reading, because a user sends no
// more input than the node has announced room for. The last message says how it ended.
package stream
