package apiserver_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/apiserver/apiservertest"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/cluster/controller"
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

// exec executes a command with some input.
func exec(t *testing.T, c *client.Client, ref, input string, command ...string) (out, errs string, code int, err error) {
	t.Helper()
	var output, problems bytes.Buffer
	code, err = c.Exec(t.Context(), ref, client.Execution{
		Command: command, Input: strings.NewReader(input), Output: &output, Errors: &problems,
	})
	return output.String(), problems.String(), code, err
}

func TestExec(t *testing.T) {
	a := apiservertest.NewCluster(t)
	blue := running(t, a)
	much := strings.Repeat("0123456789", 200_000)
	if out, _, code, err := exec(t, blue, "web", much, "cat"); out != much || code != 0 || err != nil {
		t.Errorf("cat: %d bytes, code %d, %v", len(out), code, err)
	}
	if out, errs, code, err := exec(t, blue, "web", "", "warn", "a b", "&=?"); out != "" || errs != "a b &=?\n" || code != 0 || err != nil {
		t.Errorf("warn: %q, %q, code %d, %v", out, errs, code, err)
	}
	if _, _, code, err := exec(t, blue, "web", "", "exit", "7"); code != 7 || err != nil {
		t.Errorf("exit 7: code %d, %v", code, err)
	}
	operator := a.Client(a.Operator()).ForTenant("blue")
	if out, _, _, err := exec(t, operator, "web", "", "echo"); out != "echo\n" || err != nil {
		t.Errorf("an operator: %q, %v", out, err)
	}
}

// TestExecOnATerminal: the first size is part of the request, later ones follow.
func TestExecOnATerminal(t *testing.T) {
	a := apiservertest.NewCluster(t)
	blue := running(t, a)
	printed, sizes := make(lines), make(chan cluster.TerminalSize)
	input, keyboard := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		_, err := blue.Exec(t.Context(), "web", client.Execution{
			Command: []string{"size"}, TTY: true, Size: cluster.TerminalSize{Width: 80, Height: 24}, Sizes: sizes, Input: input, Output: printed,
		})
		ended <- err
	}()
	if first := <-printed; first != "80x24\n" {
		t.Errorf("first %q", first)
	}
	sizes <- cluster.TerminalSize{Width: 300, Height: 70}
	if second := <-printed; second != "300x70\n" {
		t.Errorf("second %q", second)
	}
	_ = keyboard.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestExecThatIsRefused(t *testing.T) {
	a := apiservertest.NewCluster(t)
	blue := running(t, a)
	green := a.Client(a.Tenant(apiservertest.Green))
	if _, err := blue.StopInstance(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name    string
		client  *client.Client
		command []string
		class   error
		says    string
	}{
		{"another tenant", green, []string{"true"}, cluster.ErrNotFound, "web"},
		{"a stopped instance", blue, []string{"true"}, cluster.ErrConflict, "ciao start instance"},
		{"no command", blue, nil, cluster.ErrInvalid, "which command"},
		{"a long command", blue, []string{strings.Repeat("x", 40_000)}, cluster.ErrTooLarge, "as its input"},
	} {
		_, _, _, err := exec(t, test.client, "web", "", test.command...)
		if !errors.Is(err, test.class) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v, want %v that says %q", test.name, err, test.class, test.says)
		}
	}
}

// TestUserWhoLeavesEndsHisStream: and makes room for another.
func TestUserWhoLeavesEndsHisStream(t *testing.T) {
	a := apiservertest.NewCluster(t)
	blue := running(t, a)
	for range controller.MaxStreams + 1 {
		ctx, leave := context.WithCancel(t.Context())
		printed, ended := make(lines), make(chan error, 1)
		go func() {
			_, err := blue.Exec(ctx, "web", client.Execution{Command: []string{"size"}, Input: silent{ctx}, Output: printed})
			ended <- err
		}()
		select {
		case <-printed:
		case err := <-ended:
			t.Fatal(err)
		}
		leave()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
}

// silent is input that does not come.
type silent struct{ context.Context }

func (s silent) Read([]byte) (int, error) {
	<-s.Done()
	return 0, s.Err()
}
