package apiserver_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/apiserver/apiservertest"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/cluster/stream"
	"github.com/ciaocloud/ciao/ssntp"
	"github.com/ciaocloud/ciao/ssntp/certs"
)

// running creates an active instance "web" of tenant blue, and returns blue's client.
func running(t *testing.T, a *apiservertest.API, command ...string) *client.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	blue := a.Client(a.Tenant(apiservertest.Blue))
	_, err := blue.CreateWorkload(ctx, api.CreateWorkload{Name: "web", Kind: cluster.KindContainer, Image: "busybox", Command: command})
	if err != nil {
		t.Fatal(err)
	}
	created, err := blue.CreateInstances(ctx, api.CreateInstances{Workload: "web", Name: "web"})
	if err == nil {
		_, err = blue.Wait(ctx, created, client.Active, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return blue
}

func TestLogs(t *testing.T) {
	a := apiservertest.NewCluster(t)
	blue := running(t, a)
	for _, test := range []struct {
		logs client.Logs
		want string
	}{
		{client.Logs{Tail: -1}, "started\n"},
		{client.Logs{Tail: 0}, ""},
		{client.Logs{Tail: 1}, "started\n"},
	} {
		var out bytes.Buffer
		if err := blue.Logs(t.Context(), "web", test.logs, &out); err != nil || out.String() != test.want {
			t.Errorf("%+v: %q, %v, want %q", test.logs, out.String(), err, test.want)
		}
	}
	green := a.Client(a.Tenant(apiservertest.Green))
	if err := green.Logs(t.Context(), "web", client.Logs{}, &bytes.Buffer{}); !errors.Is(err, cluster.ErrNotFound) {
		t.Errorf("another tenant: %v", err)
	}
}

// TestLogsThatAreFollowed: what is printed comes at once; the end of the instance is the end of its log.
func TestLogsThatAreFollowed(t *testing.T) {
	a := apiservertest.NewCluster(t)
	blue := running(t, a)
	printed := make(lines)
	ended := make(chan error, 1)
	go func() { ended <- blue.Logs(t.Context(), "web", client.Logs{Tail: -1, Follow: true}, printed) }()
	if first := <-printed; first != "started\n" {
		t.Errorf("first %q", first)
	}
	if _, err := blue.StopInstance(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	if last := <-printed; last != "stopped\n" {
		t.Errorf("last %q", last)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

type lines chan string

func (l lines) Write(data []byte) (int, error) {
	l <- string(data)
	return len(data), nil
}

// TestStreamsAreForNodes: nobody joins a stream but the node that it was opened for.
func TestStreamsAreForNodes(t *testing.T) {
	a := apiservertest.New(t)
	for _, test := range []struct {
		name    string
		subject certs.Subject
		status  int
	}{
		{"an operator", certs.User("root", "admin"), http.StatusUnauthorized},
		{"a controller", certs.Node(ssntp.NewID(), ssntp.RoleController), http.StatusUnauthorized},
		{"a node without an invitation", certs.Node(ssntp.NewID(), ssntp.RoleAgent), http.StatusNotFound},
	} {
		t.Run(test.name, func(t *testing.T) {
			pair, err := a.Authority.Issue(test.subject)
			if err != nil {
				t.Fatal(err)
			}
			transport := &http.Transport{TLSClientConfig: &tls.Config{
				MinVersion: tls.VersionTLS13, RootCAs: a.Authority.Pool(), Certificates: []tls.Certificate{*pair.TLS()},
			}}
			conn, answer, err := stream.Dial(t.Context(), &http.Client{Transport: stream.HTTP1(transport)}, "https://"+a.Address+stream.Path+"x", nil)
			if err == nil {
				conn.Close()
				t.Fatal("it was let in")
			}
			if answer == nil || answer.StatusCode != test.status {
				t.Errorf("answer %+v (%v), want %d", answer, err, test.status)
			}
		})
	}
}
