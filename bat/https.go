package bat

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/ciaocloud/ciao/cluster/api"
)

// apiPort is where a controller is whose address names no port.
const apiPort = "8889"

// maxBody bounds what is read of an answer, in bytes.
const maxBody = 16 << 20

// Answer is what the HTTP interface said, before anything was read into it.
type Answer struct {
	Status      int
	ContentType string
	Body        []byte
}

// Ask sends a request as it is, without the typed client. identity may be nil: then there is no client certificate.
func (t *T) Ask(ctx context.Context, identity *tls.Certificate, method, path, body string) Answer {
	ctx, cancel := context.WithTimeout(ctx, t.Cluster.Scale(AnswerTime))
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, t.Cluster.url(path), strings.NewReader(body))
	t.Need(err, "%s %s", method, path)
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	caller := t.caller(identity)
	defer caller.CloseIdleConnections()
	response, err := caller.Do(request)
	t.Need(err, "%s %s", method, path)
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	t.Need(err, "%s %s", method, path)
	t.Logf("%s %s → %d", method, path, response.StatusCode)
	return Answer{response.StatusCode, response.Header.Get("Content-Type"), data}
}

// Identity is the certificate of a file, with the key of another.
func (t *T) Identity(certificate, key string) *tls.Certificate {
	pair, err := tls.LoadX509KeyPair(certificate, key)
	t.Need(err, "read %s", certificate)
	return &pair
}

func (t *T) caller(identity *tls.Certificate) *http.Client {
	config := &tls.Config{MinVersion: tls.VersionTLS13}
	if identity != nil {
		config.Certificates = []tls.Certificate{*identity}
	}
	if t.Cluster.CA != "" {
		data, err := os.ReadFile(t.Cluster.CA)
		t.Need(err, "read the authority")
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AppendCertsFromPEM(data)
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}}
}

// url is the address of a path of the controller.
func (c *Cluster) url(path string) string {
	text := c.Controller
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	base, err := url.Parse(text)
	if err != nil {
		return text + path // the typed client has refused it long since
	}
	if base.Port() == "" {
		base.Host = net.JoinHostPort(base.Hostname(), apiPort)
	}
	return base.Scheme + "://" + base.Host + path
}

// Host is the controller's host without its port.
func (c *Cluster) Host() string {
	base, err := url.Parse(c.url("/"))
	if err != nil {
		return ""
	}
	return base.Hostname()
}

// Problem wants the answer to be problem details (RFC 9457) of a status and a class.
func (a Answer) Problem(t *T, what string, status int, code string) api.Problem {
	var problem api.Problem
	if a.ContentType != "application/problem+json" {
		t.Errorf("%s: content type %q, expected application/problem+json", what, a.ContentType)
	}
	if err := json.Unmarshal(a.Body, &problem); err != nil {
		t.Errorf("%s: the body is not JSON: %v", what, err)
	}
	if a.Status != status || problem.Status != status || problem.Code != code {
		t.Errorf("%s: status %d and in the body %d %q, expected %d %q: %s", what, a.Status, problem.Status, problem.Code, status, code, problem.Detail)
	}
	if problem.Detail == "" {
		t.Errorf("%s: no sentence says what to do", what)
	}
	return problem
}
