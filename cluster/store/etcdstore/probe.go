package etcdstore

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"time"
)

// probeTimeout bounds the look at one endpoint.
const probeTimeout = 3 * time.Second

// reason looks for what keeps the client from its endpoints, which it does not tell: it only tries on. Nil when nothing is found.
func reason(ctx context.Context, c Config) error {
	for _, endpoint := range c.Endpoints {
		where, err := url.Parse(endpoint)
		if err != nil {
			return err
		}
		if where.Host == "" { // a unix socket, in tests
			continue
		}
		if err := probe(ctx, where, c.TLS); err != nil {
			return fmt.Errorf("%s: %w", where.Host, err)
		}
	}
	return nil
}

// probe connects and waits for the first byte, which etcd sends once it has accepted the client's certificate.
func probe(ctx context.Context, where *url.URL, security *tls.Config) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	plain, err := (&net.Dialer{}).DialContext(ctx, "tcp", where.Host)
	if err != nil {
		return err
	}
	defer plain.Close()
	if where.Scheme != "https" {
		return nil
	}
	security = security.Clone()
	if security == nil {
		security = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	security.ServerName, security.NextProtos = where.Hostname(), []string{"h2"}
	secure := tls.Client(plain, security)
	if err := secure.HandshakeContext(ctx); err != nil {
		return err
	}
	if err := secure.SetReadDeadline(time.Now().Add(probeTimeout)); err != nil {
		return err
	}
	_, err = secure.Read(make([]byte, 1))
	return err
}
