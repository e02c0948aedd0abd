package client_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/apiserver/apiservertest"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/ssntp/certs"
)

func TestConfig(t *testing.T) {
	a := apiservertest.New(t)
	user := a.Tenant(apiservertest.Blue)
	garbage := filepath.Join(t.TempDir(), "garbage")
	if err := os.WriteFile(garbage, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		config client.Config
		says   []string
	}{
		{"nothing", client.Config{}, []string{client.EnvController, client.EnvClientCert, "singlevm env"}},
		{"no controller", client.Config{Certificate: user}, []string{client.EnvController}},
		{"no certificate", client.Config{Controller: a.Address}, []string{client.EnvClientCert}},
		{"not a controller", client.Config{Controller: "http://x", Certificate: user}, []string{`"http://x"`, client.EnvController}},
		{"not an address", client.Config{Controller: "a b", Certificate: user}, []string{`"a b"`}},
		{"no such certificate", client.Config{Controller: "x", Certificate: "/no/such"}, []string{"/no/such", client.EnvClientCert}},
		{"certificate that is none", client.Config{Controller: "x", Certificate: garbage}, []string{garbage, client.EnvClientCert}},
		{"certificate without key", client.Config{Controller: "x", Certificate: a.CA()}, []string{a.CA(), client.EnvClientCert}},
		{"no such authority", client.Config{Controller: "x", Certificate: user, CA: "/no/such"}, []string{"/no/such", client.EnvCA}},
		{"authority that is none", client.Config{Controller: "x", Certificate: user, CA: garbage}, []string{garbage, client.EnvCA}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := client.New(test.config)
			wants(t, err, cluster.ErrInvalid, test.says...)
		})
	}
}

// wants checks the class of an error and its words.
func wants(t *testing.T, err, class error, says ...string) {
	t.Helper()
	if err == nil || class != nil && !errors.Is(err, class) {
		t.Fatalf("error %v is not of class %v", err, class)
	}
	for _, text := range says {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%q does not say %q", err, text)
		}
	}
	t.Log(err)
}

func TestControllersAreNamedByHostPortOrURL(t *testing.T) {
	a := apiservertest.New(t)
	for _, controller := range []string{a.Address, "https://" + a.Address, "https://" + a.Address + "/"} {
		c, err := client.New(client.Config{Controller: controller, Certificate: a.Operator(), CA: a.CA()})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if found, err := c.Tenants(t.Context()); err != nil || len(found) != 2 {
			t.Errorf("%s: %d tenants, %v", controller, len(found), err)
		}
	}
}

// strange is a client of an HTTPS server that is not a controller.
func strange(t *testing.T, handler http.HandlerFunc) *client.Client {
	t.Helper()
	authority, err := certs.NewAuthority("strange", 0)
	must(t, err)
	web, err := authority.Issue(certs.Web("127.0.0.1"))
	must(t, err)
	server := httptest.NewUnstartedServer(handler)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{*web.TLS()}}
	server.StartTLS()
	t.Cleanup(server.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	must(t, certs.SaveCertificate(ca, authority.Certificate))
	user, err := authority.Issue(certs.User("x", "y"))
	must(t, err)
	certificate, key, both := filepath.Join(t.TempDir(), "c"), filepath.Join(t.TempDir(), "k"), filepath.Join(t.TempDir(), "both.pem")
	must(t, user.Save(certificate, key))
	first, err := os.ReadFile(certificate)
	must(t, err)
	second, err := os.ReadFile(key)
	must(t, err)
	must(t, os.WriteFile(both, append(first, second...), 0o600))
	c, err := client.New(client.Config{Controller: server.URL, Certificate: both, CA: ca})
	must(t, err)
	t.Cleanup(c.Close)
	return c
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestStrangeServers(t *testing.T) {
	answer := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	for _, test := range []struct {
		name    string
		handler http.HandlerFunc
		class   error
		says    string
	}{
		{"a page", answer(http.StatusOK, "<html>"), cluster.ErrUnavailable, "not of this version's form"},
		{"half an answer", answer(http.StatusOK, `{"items": [{"id": "`), cluster.ErrUnavailable, "broke off"},
		{"another service", answer(http.StatusNotFound, "<html>"), cluster.ErrNotFound, client.EnvController},
		{"a guard", answer(http.StatusForbidden, "<html>"), cluster.ErrPermission, client.EnvController},
		{"a gateway without a controller", answer(http.StatusBadGateway, "<html>"), cluster.ErrUnavailable, "502"},
		{"somewhere else", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, nil, "307"},
		{"a hang-up", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, cluster.ErrUnavailable, "cannot reach"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := strange(t, test.handler).Workloads(t.Context())
			wants(t, err, test.class, test.says)
		})
	}
}

func TestPagesAreFollowedToTheEnd(t *testing.T) {
	pages := map[string]string{"": `{"items":[{"id":"a"}],"next":"1"}`, "1": `{"items":[{"id":"b"},{"id":"c"}],"next":"2"}`, "2": `{"items":[],"next":""}`}
	c := strange(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(pages[r.URL.Query().Get("after")]))
	})
	found, err := c.Tenants(t.Context())
	must(t, err)
	var ids []string
	for _, tenant := range found {
		ids = append(ids, tenant.ID)
	}
	if !slices.Equal(ids, []string{"a", "b", "c"}) {
		t.Errorf("tenants %v", ids)
	}
}

// TestNamesStayNames: what is given as a name never reaches another resource, above all not the collection.
func TestNamesStayNames(t *testing.T) {
	a := apiservertest.New(t)
	c, created := some(t, a, 2)
	for _, name := range []string{"", ".", "..", "/", "web-1/", "./web-1", "../instances", "../instances/web-1", "web-1/stop", "%2e", "%2E%2E", "web-1?x", "web-1#x", "?tenant=", "*", "\x00", "web 1"} {
		t.Run(name, func(t *testing.T) {
			_, err := c.Instance(t.Context(), name)
			wants(t, err, cluster.ErrNotFound)
			_, err = c.DeleteInstance(t.Context(), name)
			wants(t, err, cluster.ErrNotFound)
			_, err = c.StopInstance(t.Context(), name)
			wants(t, err, cluster.ErrNotFound)
			wants(t, c.DeleteWorkload(t.Context(), name), cluster.ErrNotFound)
		})
	}
	for _, instance := range created {
		if now, err := c.Instance(t.Context(), instance.ID); err != nil || now.Desired != cluster.WantActive {
			t.Errorf("%s is wanted %s, %v", instance.Name, now.Desired, err)
		}
	}
}

func TestUnreachable(t *testing.T) {
	a := apiservertest.New(t)
	user := a.Tenant(apiservertest.Blue)
	other, err := certs.NewAuthority("other", 0)
	must(t, err)
	otherCA := filepath.Join(t.TempDir(), "ca.pem")
	must(t, certs.SaveCertificate(otherCA, other.Certificate))
	for _, test := range []struct {
		name   string
		config client.Config
		class  error
		says   []string
	}{
		{"nobody listens", client.Config{Controller: closed(t), CA: a.CA()}, cluster.ErrUnavailable, []string{"cannot reach", client.EnvController}},
		{"it does not speak TLS", client.Config{Controller: listen(t, func(c net.Conn) { _, _ = c.Write([]byte("hello\r\n")) }), CA: a.CA()}, cluster.ErrUnavailable, nil},
		{"another authority", client.Config{Controller: a.Address, CA: otherCA}, cluster.ErrPermission, []string{client.EnvCA}},
		{"the system's authorities", client.Config{Controller: a.Address}, cluster.ErrPermission, []string{client.EnvCA}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.config.Certificate = user
			c, err := client.New(test.config)
			must(t, err)
			defer c.Close()
			_, err = c.Workloads(t.Context())
			wants(t, err, test.class, test.says...)
		})
	}
}

func TestSilentServerAndImpatientCaller(t *testing.T) {
	asked := make(chan struct{})
	c := strange(t, func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
	})
	t.Run("deadline", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		go func() { <-asked }()
		_, err := c.Workloads(ctx)
		wants(t, err, cluster.ErrTimeout, "did not answer in time")
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		left := errors.New("the caller left")
		go func() {
			<-asked
			cancel(left)
		}()
		_, err := c.Workloads(ctx)
		wants(t, err, left)
	})
}

// closed is an address on which nobody listens.
func closed(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, l.Close())
	return l.Addr().String()
}

// listen serves each connection until the test ends.
func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serve(c)
			_ = c.Close()
		}
	}()
	return l.Addr().String()
}
