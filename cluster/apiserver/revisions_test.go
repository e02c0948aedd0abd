package apiserver_test

import (
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/ciaocloud/ciao/cluster/apiserver/apiservertest"
)

// matching calls as an operator with an If-Match, and returns the status, the ETag and the body.
func matching(t *testing.T, a *apiservertest.API, method, path, match, body string) (status int, tag, answer string) {
	t.Helper()
	operator := a.Operator()
	pair, err := tls.LoadX509KeyPair(operator, operator)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: a.Authority.Pool(), Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13}}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(t.Context(), method, "https://"+a.Address+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	if match != "" {
		request.Header.Set("If-Match", match)
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Header.Get("ETag"), string(data)
}

func TestUpdatesAreNotLost(t *testing.T) {
	a := apiservertest.New(t)
	for _, test := range []struct{ path, method, change string }{
		{"/v1/tenants/blue/quota", "PUT", `{"limits":{"instances":"7"}}`},
		{"/v1/tenants/blue", "PATCH", `{"subnet_bits":26}`},
	} {
		t.Run(test.path, func(t *testing.T) {
			_, read, _ := matching(t, a, "GET", test.path, "", "")
			if read == "" {
				t.Fatal("what is read has no ETag")
			}
			status, changed, answer := matching(t, a, test.method, test.path, read, test.change)
			if status != http.StatusOK || changed == read || changed == "" {
				t.Fatalf("change of what was read: %d, ETag %s after %s: %s", status, changed, read, answer)
			}
			status, _, answer = matching(t, a, test.method, test.path, read, test.change)
			if status != http.StatusPreconditionFailed || !strings.Contains(answer, "read it again") || !strings.Contains(answer, `"code":"conflict"`) {
				t.Errorf("change of what has changed: %d %s", status, answer)
			}
			if _, now, _ := matching(t, a, "GET", test.path, "", ""); now != changed {
				t.Errorf("ETag is %s after a change that was answered with %s", now, changed)
			}
			for _, match := range []string{changed, "*", ""} {
				if status, _, answer = matching(t, a, test.method, test.path, match, test.change); status != http.StatusOK {
					t.Errorf("change with If-Match %q: %d %s", match, status, answer)
				}
			}
			for _, match := range []string{"7", `"x"`, `W/"7"`, `"0"`, `"007"`} {
				if status, _, answer = matching(t, a, test.method, test.path, match, test.change); status != http.StatusUnprocessableEntity {
					t.Errorf("change with If-Match %q: %d %s", match, status, answer)
				}
			}
		})
	}
}
