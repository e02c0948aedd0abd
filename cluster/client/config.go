package client

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/ciaocloud/ciao/cluster"
)

// Environment variables that name a cluster, as ciao had them.
const (
	EnvController = "CIAO_CONTROLLER"             // host, host:port or URL of the controller
	EnvClientCert = "CIAO_CLIENT_CERT_FILE"       // the user's certificate and key in one PEM file
	EnvAdminCert  = "CIAO_ADMIN_CLIENT_CERT_FILE" // the same of an operator
	EnvCA         = "CIAO_CA_CERT_FILE"           // the cluster's authority
	EnvTenant     = "CIAO_TENANT_ID"              // id or name of the tenant to act for
	defaultPort   = 8889                          // of the API
	dialTimeout   = 10 * time.Second              // of TCP and of TLS each
	idleTimeout   = 90 * time.Second              // of a connection
)

// Config says which cluster, and as whom.
type Config struct {
	Controller  string // host, host:port or https URL
	Certificate string // file with the user's certificate and key
	CA          string // file with the cluster's authority; empty is the system's authorities
	Tenant      string // id or name; empty is the certificate's only one, or all for an operator
	Operator    bool   // the certificate is to be an operator's
}

// FromEnvironment reads the environment; admin takes the operator's certificate.
func FromEnvironment(admin bool) Config {
	config := Config{Controller: os.Getenv(EnvController), Certificate: os.Getenv(EnvClientCert), CA: os.Getenv(EnvCA), Tenant: os.Getenv(EnvTenant)}
	if admin {
		config.Certificate, config.Operator = os.Getenv(EnvAdminCert), true
	}
	return config
}

func (c Config) prepare() (*url.URL, *http.Transport, error) {
	if err := c.complete(); err != nil {
		return nil, nil, err
	}
	base, err := c.url()
	if err != nil {
		return nil, nil, err
	}
	certificate, err := tls.LoadX509KeyPair(c.Certificate, c.Certificate)
	if err != nil {
		return nil, nil, failed(cluster.ErrInvalid, "%s: not a file with a client certificate and its key (%w): check %s", c.Certificate, err, EnvClientCert)
	}
	pool, err := c.authorities()
	if err != nil {
		return nil, nil, err
	}
	return base, &http.Transport{
		DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSHandshakeTimeout: dialTimeout,
		IdleConnTimeout:     idleTimeout,
		ForceAttemptHTTP2:   true,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{certificate}, RootCAs: pool},
	}, nil
}

// complete says everything that is missing at once.
func (c Config) complete() error {
	var missing []string
	if c.Controller == "" {
		missing = append(missing, EnvController+" to the controller's host")
	}
	switch {
	case c.Certificate != "":
	case c.Operator:
		missing = append(missing, EnvAdminCert+" to the file with your certificate and key, as an operator")
	default:
		missing = append(missing, EnvClientCert+" to the file with your certificate and key")
	}
	if missing == nil {
		return nil
	}
	return failed(cluster.ErrInvalid, "set %s; `singlevm env` prints both", strings.Join(missing, " and "))
}

func (c Config) url() (*url.URL, error) {
	text := c.Controller
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	base, err := url.Parse(text)
	if err != nil || base.Scheme != "https" || base.Hostname() == "" {
		return nil, failed(cluster.ErrInvalid, "%q is not a host, a host:port or an https URL: check %s", c.Controller, EnvController)
	}
	if base.Port() == "" {
		base.Host = net.JoinHostPort(base.Hostname(), strconv.Itoa(defaultPort))
	}
	return base, nil
}

func (c Config) authorities() (*x509.CertPool, error) {
	if c.CA == "" {
		return nil, nil // the system's
	}
	data, err := os.ReadFile(c.CA)
	if err != nil {
		return nil, failed(cluster.ErrInvalid, "cannot read the certificate of the cluster's authority (%w): check %s", err, EnvCA)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, failed(cluster.ErrInvalid, "%s holds no certificate in PEM form: check %s", c.CA, EnvCA)
	}
	return pool, nil
}

// isTLS says whether a call failed because of the server's certificate, which trying again does not mend.
func isTLS(err error) bool {
	var verification *tls.CertificateVerificationError
	return errors.As(err, &verification)
}
