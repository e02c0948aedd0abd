package apiserver_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/apiserver/apiservertest"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/cluster/store/backup"
	"github.com/ciaocloud/ciao/ssntp/certs"
)

func sleeper(name string) api.CreateWorkload {
	return api.CreateWorkload{Name: name, Kind: cluster.KindContainer, Image: "busybox", Command: []string{"sleep", "60"}}
}

func TestWhoMayCall(t *testing.T) {
	a := apiservertest.New(t)
	other, err := certs.NewAuthority("other", 0)
	if err != nil {
		t.Fatal(err)
	}
	short := certs.User("late", apiservertest.Blue)
	short.Lifetime = time.Second
	expired := a.User(short)
	<-time.After(1500 * time.Millisecond) // nothing but time makes a certificate expire
	for _, test := range []struct{ name, certificate, says string }{
		{"another authority", a.UserOf(other, certs.User("x", apiservertest.Blue)), "is not of this cluster's authority"},
		{"an authority that calls itself the same", a.UserOf(sameName(t), certs.User("x", "admin")), "is not of this cluster's authority"},
		{"a daemon", a.Daemon(), "certificate of a daemon"},
		{"expired", expired, "ask an operator for a new one"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := a.Client(test.certificate).Workloads(t.Context())
			if !errors.Is(err, cluster.ErrPermission) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("error = %v, want not permitted, saying %q", err, test.says)
			}
		})
	}
	t.Run("nobody", func(t *testing.T) {
		caller := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: a.Authority.Pool(), MinVersion: tls.VersionTLS13}}}
		response, err := caller.Get("https://" + a.Address + "/v1/workloads")
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		var problem api.Problem
		if err := json.NewDecoder(response.Body).Decode(&problem); err != nil {
			t.Fatal(err)
		}
		if response.StatusCode != http.StatusUnauthorized || response.Header.Get("Content-Type") != "application/problem+json" || !strings.Contains(problem.Detail, "CIAO_CLIENT_CERT_FILE") {
			t.Errorf("answer = %s %s %+v", response.Status, response.Header.Get("Content-Type"), problem)
		}
	})
}

// TestRevokedCaller: a caller is refused from the request on that follows the revocation, on the connection it has.
func TestRevokedCaller(t *testing.T) {
	a := apiservertest.New(t)
	file := a.Tenant(apiservertest.Blue)
	blue, other := a.Client(file), a.Client(a.Tenant(apiservertest.Blue))
	if _, err := blue.Workloads(t.Context()); err != nil {
		t.Fatal(err)
	}
	certificate, err := certs.LoadCertificate(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Authority.Revoke(a.Revoked(), certificate.SerialNumber); err != nil {
		t.Fatal(err)
	}
	if _, err := blue.Workloads(t.Context()); !errors.Is(err, cluster.ErrPermission) || !strings.Contains(err.Error(), "revoked") {
		t.Errorf("a revoked caller: %v", err)
	}
	if _, err := other.Workloads(t.Context()); err != nil {
		t.Errorf("another caller of the same tenant: %v", err)
	}
}

func sameName(t *testing.T) *certs.Authority {
	t.Helper()
	other, err := certs.NewAuthority("test", 0)
	if err != nil {
		t.Fatal(err)
	}
	return other
}

func TestTenantsDoNotSeeEachOther(t *testing.T) {
	a := apiservertest.New(t)
	ctx := t.Context()
	blue, green := a.Client(a.Tenant(apiservertest.Blue)), a.Client(a.Tenant(apiservertest.Green))
	workload, err := blue.CreateWorkload(ctx, sleeper("own"))
	if err != nil {
		t.Fatal(err)
	}
	kept, err := blue.CreateSSHKey(ctx, api.CreateSSHKey{Name: "laptop", Key: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIM1b9APNZdHfq+0wN+Qm9lnqYSbPpK7h13Iheh5Qq4O5"})
	if err != nil {
		t.Fatal(err)
	}
	created, err := blue.CreateInstances(ctx, api.CreateInstances{Workload: "own", Count: 2, Name: "web"})
	if err != nil {
		t.Fatal(err)
	}
	if created[0].Name != "web-1" || created[1].Name != "web-2" || created[0].Workload != "own" || created[0].State != cluster.Pending {
		t.Errorf("created = %+v", created)
	}
	for name, do := range map[string]func() error{
		"show workload":   func() error { _, err := green.Workload(ctx, workload.ID); return err },
		"delete workload": func() error { return green.DeleteWorkload(ctx, workload.ID) },
		"create of it": func() error {
			_, err := green.CreateInstances(ctx, api.CreateInstances{Workload: workload.ID})
			return err
		},
		"show instance":   func() error { _, err := green.Instance(ctx, created[0].ID); return err },
		"stop instance":   func() error { _, err := green.StopInstance(ctx, created[0].ID); return err },
		"delete instance": func() error { _, err := green.DeleteInstance(ctx, created[0].ID); return err },
		"read log":        func() error { return green.Logs(ctx, created[0].ID, client.Logs{}, io.Discard) },
		"execute": func() error {
			_, err := green.Exec(ctx, created[0].ID, client.Execution{Command: []string{"id"}, Output: io.Discard, Errors: io.Discard})
			return err
		},
		"join console":   func() error { return green.Console(ctx, created[0].ID, client.Console{Output: io.Discard}) },
		"show ssh key":   func() error { _, err := green.SSHKey(ctx, kept.ID); return err },
		"delete ssh key": func() error { return green.DeleteSSHKey(ctx, kept.ID) },
		"read log for blue": func() error {
			return green.ForTenant(apiservertest.Blue).Logs(ctx, created[0].ID, client.Logs{}, io.Discard)
		},
		"act for blue": func() error {
			_, err := green.ForTenant(apiservertest.Blue).Instances(ctx, client.InstanceFilter{})
			return err
		},
		"act for nobody": func() error { _, err := green.ForTenant("nobody").Instances(ctx, client.InstanceFilter{}); return err },
		"show tenant":    func() error { _, err := green.Tenant(ctx, apiservertest.Blue); return err },
		"show quota":     func() error { _, err := green.Quota(ctx, "blue"); return err },
	} {
		if err := do(); !errors.Is(err, cluster.ErrNotFound) {
			t.Errorf("%s: error = %v, want not found", name, err)
		}
	}
	if left, err := green.Instances(ctx, client.InstanceFilter{}); err != nil || len(left) != 0 {
		t.Errorf("green sees %v, %v", left, err)
	}
	all, err := a.Client(a.Operator()).Instances(ctx, client.InstanceFilter{})
	if err != nil || len(all) != 2 {
		t.Errorf("an operator sees %d instances (%v), want 2", len(all), err)
	}
}

func TestOperatorsOnly(t *testing.T) {
	a := apiservertest.New(t)
	ctx := t.Context()
	blue := a.Client(a.Tenant(apiservertest.Blue))
	public := sleeper("p")
	public.Visibility = cluster.Public
	name := "mine"
	for what, do := range map[string]func() error{
		"create tenant": func() error { _, err := blue.CreateTenant(ctx, api.CreateTenant{Name: "x"}); return err },
		"update tenant": func() error {
			_, err := blue.UpdateTenant(ctx, apiservertest.Blue, api.UpdateTenant{Name: &name})
			return err
		},
		"delete tenant": func() error { return blue.DeleteTenant(ctx, apiservertest.Blue) },
		"update quota": func() error {
			_, err := blue.UpdateQuota(ctx, apiservertest.Blue, api.UpdateQuota{Limits: map[string]string{"instances": "9"}})
			return err
		},
		"list nodes":      func() error { _, err := blue.Nodes(ctx, ""); return err },
		"evacuate node":   func() error { _, err := blue.EvacuateNode(ctx, "n", true); return err },
		"restore node":    func() error { _, err := blue.RestoreNode(ctx, "n"); return err },
		"delete node":     func() error { return blue.DeleteNode(ctx, "n") },
		"settle store":    func() error { return blue.SettleStore(ctx) },
		"clear events":    func() error { _, err := blue.ClearEvents(ctx); return err },
		"public workload": func() error { _, err := blue.CreateWorkload(ctx, public); return err },
	} {
		if err := do(); !errors.Is(err, cluster.ErrPermission) {
			t.Errorf("%s: error = %v, want not permitted", what, err)
		}
	}
}

func TestBadRequests(t *testing.T) {
	a := apiservertest.New(t)
	call := rawCaller(t, a, a.Tenant(apiservertest.Blue, apiservertest.Green))
	for _, test := range []struct {
		name, method, path, body string
		status                   int
		says                     string
	}{
		{"which tenant", "GET", "/v1/instances", "", 422, "say which one"},
		{"not JSON", "POST", "/v1/workloads?tenant=blue", "{", 400, "unexpected end"},
		{"unknown key", "POST", "/v1/workloads?tenant=blue", `{"name":"a","kind":"container","image":"b","colour":1}`, 422, "body.colour: unexpected property"},
		{"wrong type", "POST", "/v1/instances?tenant=blue", `{"workload":"a","count":"two"}`, 422, "body.count: expected integer"},
		{"impossible value", "POST", "/v1/workloads?tenant=blue", `{"name":"a","kind":"container","image":"b","requirements":{"memory_mib":-1}}`, 422, "requirements.memory_mib: must be from"},
		{"unknown workload", "POST", "/v1/instances?tenant=blue", `{"workload":"nope"}`, 404, "nope"},
		{"unknown path", "GET", "/v1/nothing", "", 404, ""},
		{"unknown quota", "PUT", "/v1/tenants/blue/quota", `{"limits":{"x":"1"}}`, 403, "operator"},
		{"too many", "POST", "/v1/instances?tenant=blue", `{"workload":"a","count":10001}`, 422, "body.count: expected number <= 10000"},
		{"bad label", "GET", "/v1/instances?tenant=blue&label==x", "", 422, "KEY=VALUE"},
		{"huge body", "POST", "/v1/workloads?tenant=blue", `{"name":"` + strings.Repeat("a", 2<<20) + `"}`, 413, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			status, answer := call(test.method, test.path, test.body)
			if status != test.status || !strings.Contains(answer, test.says) {
				t.Errorf("answer = %d %s, want %d saying %q", status, answer, test.status, test.says)
			}
		})
	}
}

// TestPagesOfOthersChangeNothing: a browser that has the operator's certificate shows it for a form of any site.
func TestPagesOfOthersChangeNothing(t *testing.T) {
	a := apiservertest.New(t)
	operator := a.Operator()
	pair, err := tls.LoadX509KeyPair(operator, operator)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: a.Authority.Pool(), Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13}}}
	t.Cleanup(browser.CloseIdleConnections)
	for _, test := range []struct {
		origin string
		status int
	}{
		{"https://elsewhere.example", http.StatusForbidden},
		{"https://" + a.Address, http.StatusConflict}, // the store is not a restored one
		{"", http.StatusConflict},
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+a.Address+"/v1/store/settle", nil)
		if err != nil {
			t.Fatal(err)
		}
		if test.origin != "" {
			request.Header.Set("Origin", test.origin)
		}
		answer, err := browser.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != test.status || !strings.HasPrefix(answer.Header.Get("Content-Type"), "application/problem+json") {
			t.Errorf("from %q: %s, %s; want %d and a problem", test.origin, answer.Status, answer.Header.Get("Content-Type"), test.status)
		}
	}
}

// rawCaller sends what the typed client would not.
func rawCaller(t *testing.T, a *apiservertest.API, certificate string) func(method, path, body string) (int, string) {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(certificate, certificate)
	if err != nil {
		t.Fatal(err)
	}
	caller := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: a.Authority.Pool(), Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13}}}
	t.Cleanup(caller.CloseIdleConnections)
	return func(method, path, body string) (int, string) {
		request, err := http.NewRequestWithContext(t.Context(), method, "https://"+a.Address+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		response, err := caller.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		answer, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(answer)
	}
}

func TestQuotaRefusalIsAProblem(t *testing.T) {
	a := apiservertest.New(t)
	ctx := t.Context()
	blue, operator := a.Client(a.Tenant(apiservertest.Blue)), a.Client(a.Operator())
	if _, err := operator.UpdateQuota(ctx, "blue", api.UpdateQuota{Limits: map[string]string{"instances": "2"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := blue.CreateWorkload(ctx, sleeper("s")); err != nil {
		t.Fatal(err)
	}
	_, err := blue.CreateInstances(ctx, api.CreateInstances{Workload: "s", Count: 3})
	if !errors.Is(err, cluster.ErrOverQuota) {
		t.Fatalf("error = %v, want over quota", err)
	}
	quota, err := blue.Quota(ctx, "blue")
	if err != nil {
		t.Fatal(err)
	}
	want := []api.QuotaItem{{Name: "instances", Limit: "2"}, {Name: "vcpus", Limit: "unlimited"}, {Name: "memory_mib", Limit: "unlimited"}, {Name: "disk_mib", Limit: "unlimited"}}
	if diff := cmp.Diff(want, quota.Items[:len(want)]); diff != "" {
		t.Errorf("quota after a refusal (-want +got):\n%s", diff)
	}
}

func TestWatchBeginsWithResyncAndFollows(t *testing.T) {
	a := apiservertest.New(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	blue := a.Client(a.Tenant(apiservertest.Blue))
	green := a.Client(a.Tenant(apiservertest.Green))
	for _, c := range []*client.Client{blue, green} {
		if _, err := c.CreateWorkload(ctx, sleeper("s")); err != nil {
			t.Fatal(err)
		}
	}
	began := false
	for change, err := range blue.Watch(ctx, api.ChangeInstance) {
		switch {
		case err != nil:
			t.Fatal(err)
		case change.Type == api.ChangeResync && !began:
			began = true
			for _, c := range []*client.Client{green, blue} {
				if _, err := c.CreateInstances(ctx, api.CreateInstances{Workload: "s", Name: "one"}); err != nil {
					t.Fatal(err)
				}
			}
		case change.Type == api.ChangeInstance:
			if change.Instance == nil || change.Instance.Tenant != apiservertest.Blue || !began {
				t.Errorf("change = %+v", change)
			}
			return
		}
	}
	t.Fatal("the watch ended without a change")
}

func TestOpenAPIDocument(t *testing.T) {
	a := apiservertest.New(t)
	status, text := rawCaller(t, a, a.Operator())("GET", "/openapi.json", "")
	var document struct {
		OpenAPI string `json:"openapi"`
		Paths   map[string]map[string]struct {
			OperationID string         `json:"operationId"`
			Responses   map[string]any `json:"responses"`
		} `json:"paths"`
	}
	if err := json.Unmarshal([]byte(text), &document); err != nil || status != 200 {
		t.Fatalf("%d %v", status, err)
	}
	if !strings.HasPrefix(document.OpenAPI, "3.1.") {
		t.Errorf("version = %s, want 3.1", document.OpenAPI)
	}
	operations := 0
	for path, methods := range document.Paths {
		for method, operation := range methods {
			operations++
			if operation.OperationID == "" || operation.Responses["default"] == nil && operation.Responses["401"] == nil {
				t.Errorf("%s %s does not say what it answers: %+v", method, path, operation)
			}
		}
	}
	if operations < 25 {
		t.Errorf("%d operations are described, want all of them", operations)
	}
}

func TestSnapshotIsTheOperators(t *testing.T) {
	a := apiservertest.New(t)
	var out bytes.Buffer
	if err := a.Client(a.Operator()).Snapshot(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	found, err := backup.Check(&out)
	if err != nil || found.Rows < 3 || found.Cluster != "test" {
		t.Errorf("%+v, %v", found, err)
	}
	out.Reset()
	if err := a.Client(a.Tenant(apiservertest.Blue)).Snapshot(t.Context(), &out); !errors.Is(err, cluster.ErrPermission) || out.Len() > 0 {
		t.Errorf("a tenant gets %v and %d bytes", err, out.Len())
	}
}

func TestMetricsAreTheOperators(t *testing.T) {
	a := apiservertest.New(t)
	if status, text := rawCaller(t, a, a.Operator())("GET", "/metrics", ""); status != 200 || !strings.Contains(text, "ciao_controller_waiting_instances") {
		t.Errorf("an operator gets %d %.200s", status, text)
	}
	if status, _ := rawCaller(t, a, a.Tenant(apiservertest.Blue))("GET", "/metrics", ""); status != 403 {
		t.Errorf("a tenant gets %d, want 403", status)
	}
}
