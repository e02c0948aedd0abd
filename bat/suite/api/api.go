// Package api judges the HTTP interface itself: its description, its errors, and whom it answers.
package api

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ciaocloud/ciao/bat"
	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/client"
)

// Suite lists the tests.
func Suite() bat.Suite {
	return bat.Suite{Name: "api", Summary: "the HTTP interface: its description, its errors, whom it answers", Tests: []bat.Test{
		{
			Name:        "Description",
			Summary:     "The interface describes itself.",
			Description: "Reads /openapi.json.",
			Expected:    "An OpenAPI 3.1 document that has the paths of instances, workloads, tenants, nodes, CNCIs, events and the watch.",
			Run:         description,
		},
		{
			Name:        "Problems",
			Summary:     "Every error is a problem details document (RFC 9457).",
			Description: "Asks for an unknown instance, sends broken JSON, an unknown field, a value out of range and an unknown workload.",
			Expected:    "Content type application/problem+json; the right status and class; a sentence; the path of the wrong field.",
			Run:         problems,
		},
		{
			Name:        "NoCertificate",
			Summary:     "Nobody is answered without a certificate.",
			Description: "Lists instances without a client certificate, and with one of an authority of the tester's own.",
			Expected:    "401 with a problem document.",
			Run:         noCertificate,
		},
		{
			Name:        "WrongAuthority",
			Summary:     "A controller whose certificate is not of the expected authority is not talked to.",
			Description: "Lists instances with the client while it trusts another authority only.",
			Expected:    "Refused, and the sentence names the variables that say whom to trust.",
			Run:         wrongAuthority,
		},
		{
			Name:        "DaemonCertificate",
			Summary:     "A daemon's certificate opens nothing to its holder here.",
			Description: "Lists instances with each daemon's certificate, where this machine has them and they may be read.",
			Expected:    "401 with a problem document.",
			Run:         daemonCertificate,
		},
	}}
}

func description(ctx context.Context, t *bat.T) {
	answer := t.Ask(ctx, operator(t), http.MethodGet, "/openapi.json", "")
	var document struct {
		OpenAPI string                     `json:"openapi"`
		Paths   map[string]json.RawMessage `json:"paths"`
	}
	t.Need(json.Unmarshal(answer.Body, &document), "/openapi.json is not JSON (status %d)", answer.Status)
	if !strings.HasPrefix(document.OpenAPI, "3.1.") {
		t.Errorf("the document is of OpenAPI %q, expected 3.1", document.OpenAPI)
	}
	for _, path := range []string{"/v1/instances", "/v1/instances/{ref}", "/v1/workloads", "/v1/tenants", "/v1/nodes", "/v1/cncis", "/v1/events", "/v1/watch"} {
		if document.Paths[path] == nil {
			t.Errorf("the document does not describe %s", path)
		}
	}
}

func problems(ctx context.Context, t *bat.T) {
	me, tenant := operator(t), t.Tenant(ctx)
	instances := "/v1/instances?tenant=" + tenant.ID
	t.Ask(ctx, me, http.MethodGet, "/v1/instances/no-such-one", "").Problem(t, "an unknown instance", http.StatusNotFound, "not-found")
	t.Ask(ctx, me, http.MethodGet, "/v1/instances?tenant=no-such-tenant", "").Problem(t, "an unknown tenant", http.StatusNotFound, "not-found")
	t.Ask(ctx, me, http.MethodPost, instances, `{"workload":"no-such-one"}`).Problem(t, "an unknown workload", http.StatusNotFound, "not-found")
	for _, bad := range []struct{ what, body, path string }{
		{"an unknown field", `{"workload":"x","colour":"blue"}`, "colour"},
		{"a value out of range", `{"workload":"x","count":100000}`, "count"},
		{"a wrong type", `{"workload":7}`, "workload"},
	} {
		problem := t.Ask(ctx, me, http.MethodPost, instances, bad.body).Problem(t, bad.what, http.StatusUnprocessableEntity, "invalid")
		named := false
		for _, field := range problem.Errors {
			named = named || strings.Contains(field.Path, bad.path)
		}
		if !named {
			t.Errorf("%s: no error names the path of the field %s: %+v", bad.what, bad.path, problem.Errors)
		}
	}
	if answer := t.Ask(ctx, me, http.MethodPost, instances, `{"workload":`); answer.Status < 400 || answer.Status >= 500 || answer.ContentType != "application/problem+json" {
		t.Errorf("broken JSON: status %d, content type %q", answer.Status, answer.ContentType)
	}
	if answer := t.Ask(ctx, me, http.MethodGet, "/v1/no-such-thing", ""); answer.Status != http.StatusNotFound {
		t.Errorf("an unknown path: status %d", answer.Status)
	}
}

func noCertificate(ctx context.Context, t *bat.T) {
	t.Ask(ctx, nil, http.MethodGet, "/v1/instances", "").Problem(t, "no certificate", http.StatusUnauthorized, "not-permitted")
	_, stranger := selfSigned(t)
	t.Ask(ctx, stranger, http.MethodGet, "/v1/instances", "").Problem(t, "a stranger's certificate", http.StatusUnauthorized, "not-permitted")
}

func wrongAuthority(ctx context.Context, t *bat.T) {
	authority, _ := selfSigned(t)
	directory, err := os.MkdirTemp("", "bat-")
	t.Need(err, "make a directory")
	t.Cleanup(func(context.Context) { _ = os.RemoveAll(directory) })
	file := filepath.Join(directory, "ca.pem")
	t.Need(os.WriteFile(file, authority, 0o600), "write an authority")
	c, err := client.New(client.Config{Controller: t.Cluster.Controller, Certificate: t.Cluster.Access.Operator, CA: file})
	t.Need(err, "make a client")
	defer c.Close()
	_, err = c.Workloads(ctx)
	if !errors.Is(err, cluster.ErrPermission) || !strings.Contains(err.Error(), client.EnvCA) {
		t.Errorf("the error is %v, expected one of class %q that names %s", err, cluster.ErrPermission, client.EnvCA)
	}
}

func daemonCertificate(ctx context.Context, t *bat.T) {
	tried := 0
	for _, name := range []string{"scheduler", "controller", "launcher"} {
		certificate, key := filepath.Join(t.Cluster.PKI, name+".pem"), filepath.Join(t.Cluster.PKI, name+"-key.pem")
		if pair, err := tls.LoadX509KeyPair(certificate, key); t.Cluster.PKI != "" && err == nil {
			tried++
			t.Ask(ctx, &pair, http.MethodGet, "/v1/instances", "").Problem(t, "the certificate of the "+name, http.StatusUnauthorized, "not-permitted")
		}
	}
	if tried == 0 {
		t.Skipf("no daemon's certificate can be read here")
	}
}

func operator(t *bat.T) *tls.Certificate {
	return t.Identity(t.Cluster.Access.Operator, t.Cluster.Access.Operator)
}

// selfSigned is a certificate that says it is an operator's, and that nobody has reason to believe.
func selfSigned(t *bat.T) (authority []byte, identity *tls.Certificate) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	t.Need(err, "make a key")
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "admin", Organization: []string{"admin"}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	t.Need(err, "make a certificate")
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
