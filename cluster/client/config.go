package client

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
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
	Key         string // file with the key, if it is not in Certificate
	CA          string // file with the cluster's authority; empty is the system's authorities
	Tenant      string // id or name; empty is the certificate's only one, or all for an operator
}

// FromEnvironment reads the environment; admin takes the operator's certificate.
func FromEnvironment(admin bool) Config {
	config := Config{Controller: os.Getenv(EnvController), Certificate: os.Getenv(EnvClientCert), CA: os.Getenv(EnvCA), Tenant: os.Getenv(EnvTenant)}
	if admin {
		config.Certificate = os.Getenv(EnvAdminCert)
	}
	return config
}

func (c Config) prepare() (*url.URL, *http.Transport, error) {
	base, err := c.url()
	if err != nil {
		return nil, nil, err
	}
	if c.Certificate == "" {
		return nil, nil, fmt.Errorf("%w: no client certificate: set %s to yours (singlevm env prints it)", cluster.ErrInvalid, EnvClientCert)
	}
	key := c.Key
	if key == "" {
		key = c.Certificate
	}
	certificate, err := tls.LoadX509KeyPair(c.Certificate, key)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: read the client certificate and key: %w", cluster.ErrInvalid, err)
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

func (c Config) url() (*url.URL, error) {
	if c.Controller == "" {
		return nil, fmt.Errorf("%w: no controller: set %s (singlevm env prints it)", cluster.ErrInvalid, EnvController)
	}
	text := c.Controller
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	base, err := url.Parse(text)
	if err != nil || base.Scheme != "https" || base.Hostname() == "" {
		return nil, fmt.Errorf("%w: %s is %q, which is not a host, a host:port or an https URL", cluster.ErrInvalid, EnvController, c.Controller)
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
		return nil, fmt.Errorf("%w: read the authority's certificate (%s): %w", cluster.ErrInvalid, EnvCA, err)
	}
	pool := x509.NewCertPool()
	if block, _ := pem.Decode(data); block == nil || !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("%w: %s holds no certificate in PEM form", cluster.ErrInvalid, c.CA)
	}
	return pool, nil
}

// isTLS says whether a call failed because of certificates, which trying again does not mend.
func isTLS(err error) bool {
	var alert tls.AlertError
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var verification *tls.CertificateVerificationError
	return errors.As(err, &alert) || errors.As(err, &unknown) || errors.As(err, &host) || errors.As(err, &invalid) || errors.As(err, &verification)
}
