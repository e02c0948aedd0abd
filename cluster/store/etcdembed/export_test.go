package etcdembed

import "net/url"

// Tidy runs maintenance now.
func (s *Server) Tidy() error { return s.tidy() }

// Sizes are the first and last revision and the size of the database.
func (s *Server) Sizes() (first, last, bytes int64) {
	kv := s.etcd.Server.KV()
	return kv.FirstRev(), kv.Rev(), s.etcd.Server.Backend().Size()
}

// ListenOn makes the server listen for clients on a unix socket, as a separate etcd would.
func (c Config) ListenOn(socket string) Config {
	c.listen = &url.URL{Scheme: "unix", Path: socket}
	return c
}
