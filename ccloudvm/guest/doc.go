// Package guest reaches a running guest from the host.
//
//   - [GenerateKey] makes ed25519 keys on the host: one for the user, one that the guest is given as its host key. So both sides know
//     each other before the first connection and nobody is asked to trust anything.
//   - [Access] says where a guest is and who it must be; [Access.WriteFiles] leaves what OpenSSH's own programs need.
//   - [Wait] and [Dial] connect, [Client.Run] runs a program with its exit code, [Client.Upload] and [Client.Download] copy. Every wait
//     has a limit, and a guest that stops answering is noticed within [DeadAfter].
//   - [ReadProgress] reads what the guest reports about its set-up, [WatchConsole] recognises on its serial console that it will
//     never get ready.
package guest
