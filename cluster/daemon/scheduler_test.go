package daemon

import (
	"bytes"
	"context"
	"io/fs"
	"net"
	"os"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/ciaocloud/ciao/cluster/config"
	"github.com/ciaocloud/ciao/ssntp"
	"github.com/ciaocloud/ciao/ssntp/certs"
	"github.com/ciaocloud/ciao/ssntp/ssntptest"
)

// running is a scheduler with its files.
type running struct {
	t         *testing.T
	authority *certs.Authority
	config    config.Cluster
	log       safeBuffer
}

type safeBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

func runTestScheduler(t *testing.T) *running {
	t.Helper()
	authority, err := certs.NewAuthority("test", 0)
	must(t, err)
	own, err := authority.Issue(certs.Node(ssntp.NewID(), ssntp.RoleScheduler, "127.0.0.1"))
	must(t, err)
	directory := t.TempDir()
	text := "api_version: ciao/v1\nname: test\npki: {directory: " + directory + "}\nnetwork: {underlay: lo}\n" +
		"scheduler: {listen: '127.0.0.1:" + freePort(t) + "', directory: " + directory + ", addresses: ['127.0.0.1:1']}\n"
	r := &running{t: t, authority: authority}
	r.config, err = config.Parse("test", []byte(text))
	must(t, err)
	pki := r.config.PKI
	must(t, authority.Save(pki.CAFile(), pki.CAKeyFile()))
	must(t, own.Save(pki.CertificateFile(config.SchedulerCertificate), pki.KeyFile(config.SchedulerCertificate)))
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- runScheduler(ctx, Environment{Config: r.config, Log: &r.log}) }()
	t.Cleanup(func() { stop(); must(t, <-ended) })
	r.until("it listens", func() bool { return regexp.MustCompile("scheduler listens").MatchString(r.log.String()) })
	r.until("the tap is there", func() bool { _, err := os.Stat(r.config.Scheduler.TapSocket()); return err == nil })
	return r
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	must(t, err)
	return port
}

// until polls a condition with a generous deadline.
func (r *running) until(what string, condition func() bool) {
	r.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline:
			r.t.Fatalf("waited in vain until %s:\n%s", what, r.log.String())
		}
	}
}

// agent runs a client with a certificate.
func (r *running) agent(pair *certs.Pair) (*ssntp.Client, *ssntptest.Log) {
	log := new(ssntptest.Log)
	client, _ := ssntptest.RunClient(r.t, ssntp.ClientConfig{
		Addresses: []string{r.config.Scheduler.Listen}, Certificate: ssntptest.Source(pair.TLS()), Roots: r.authority.Pool(), Handler: log.Handler(),
	})
	return client, log
}

func (r *running) issue() *certs.Pair {
	pair, err := r.authority.Issue(certs.Node(ssntp.NewID(), ssntp.RoleAgent))
	must(r.t, err)
	return pair
}

// TestSchedulerShowsItsFrames to its own user, and to nobody else.
func TestSchedulerShowsItsFrames(t *testing.T) {
	r := runTestScheduler(t)
	if info, err := os.Stat(r.config.Scheduler.TapSocket()); err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("the socket has mode %v, %v", info.Mode(), err)
	}
	agent, log := r.agent(r.issue())
	log.Connected(t)
	ctx, stop := context.WithCancel(t.Context())
	sending := make(chan error, 1)
	go func() { // until it is seen: nothing says when looking has begun
		var err error
		for ctx.Err() == nil && err == nil {
			err = agent.Send(t.Context(), ssntp.Frame{Operand: ssntp.Ready, Payload: []byte("room")})
		}
		sending <- err
	}()
	for record, err := range Tap(ctx, r.config.Scheduler) {
		must(t, err)
		if want := agent.Identity().ID.String(); record.From != want || record.Operand != "Ready" || record.Bytes != 4 || record.Roles != "agent" {
			t.Errorf("saw %+v, want a Ready from %s", record, want)
		}
		break
	}
	stop()
	must(t, <-sending)
}

// TestSchedulerRefusesRevoked: while it runs a certificate is revoked.
func TestSchedulerRefusesRevoked(t *testing.T) {
	r := runTestScheduler(t)
	good, bad := r.issue(), r.issue()
	must(t, Revoke(r.config.PKI, []string{bad.Certificate.SerialNumber.Text(16)}))
	r.agent(bad)
	r.until("the revoked one is refused", func() bool { return regexp.MustCompile("refused a connection.*revoked").MatchString(r.log.String()) })
	_, log := r.agent(good)
	log.Connected(t)
}
