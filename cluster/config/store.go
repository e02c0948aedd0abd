package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/ciaocloud/ciao/cluster"
)

// maxPrefix of keys in etcd, in bytes.
const maxPrefix = 127

func (s Store) validate(problems *cluster.Problems) {
	const at = "controller.store."
	files := map[string]string{"ca": s.CA, "certificate": s.Certificate, "key": s.Key}
	secure := false
	for i, endpoint := range s.Endpoints {
		path := fmt.Sprintf("%sendpoints[%d]", at, i)
		where, err := url.Parse(endpoint)
		switch {
		case err != nil || where.Port() == "" || where.Hostname() == "" || *where != (url.URL{Scheme: where.Scheme, Host: where.Host}):
			problems.Add(path, "%q is not an endpoint, such as https://10.0.0.1:2379", endpoint)
		case where.Scheme == "https":
			secure = true
		case where.Scheme != "http":
			problems.Add(path, "%q is not an endpoint of etcd; use https://HOST:PORT", endpoint)
		case !loopback(where.Hostname()):
			problems.Add(path, "%q would carry the cluster's state in the clear; use https", endpoint)
		}
	}
	for name, file := range files {
		switch {
		case file == "":
		case len(s.Endpoints) > 0 && !secure:
			problems.Add(at+name, "is for https endpoints, and there are none")
		case len(s.Endpoints) == 0:
			problems.Add(at+name, "belongs to an etcd cluster; name its members in controller.store.endpoints")
		case !filepath.IsAbs(file):
			problems.Add(at+name, "%q must be an absolute path", file)
		}
	}
	if (s.Certificate == "") != (s.Key == "") {
		problems.Add(at+"certificate", "certificate and key go together; name both files or none")
	}
	s.validatePrefix(problems, at+"prefix")
}

func (s Store) validatePrefix(problems *cluster.Problems, path string) {
	switch {
	case s.Prefix == "":
	case len(s.Endpoints) == 0:
		problems.Add(path, "belongs to an etcd cluster; name its members in controller.store.endpoints")
	case len(s.Prefix) > maxPrefix || strings.Trim(s.Prefix, "/") != s.Prefix || strings.ContainsFunc(s.Prefix, func(r rune) bool { return r <= ' ' || r > '~' }):
		problems.Add(path, "%q is not a prefix; use at most %d letters, digits and signs, and no slash at either end", s.Prefix, maxPrefix)
	}
}

func loopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && net.IP(address.AsSlice()).IsLoopback()
}
