// Package etcdtest gives tests a real etcd cluster: three members on loopback in this process, which talk to each other and to clients
// over TLS with certificates on both sides.
package etcdtest

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"github.com/ciaocloud/ciao/ssntp/certs"
)

const (
	size  = 3
	ready = time.Minute
)

// Cluster is a running etcd cluster.
type Cluster struct {
	Endpoints []string // for clients
	// CA, Certificate and Key are the files that a client needs.
	CA, Certificate, Key string

	t       *testing.T
	members []*embed.Etcd
	killed  [size]bool
}

// New starts a cluster that ends with the test.
func New(t *testing.T) *Cluster {
	t.Helper()
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	authority, err := certs.NewAuthority("etcd", 0)
	must(t, err)
	c := &Cluster{t: t, CA: file("ca.pem"), Certificate: file("client.pem"), Key: file("client-key.pem")}
	must(t, certs.SaveCertificate(c.CA, authority.Certificate))
	save := func(subject certs.Subject, certificate, key string) {
		pair, err := authority.Issue(subject)
		must(t, err)
		must(t, pair.Save(certificate, key))
	}
	save(certs.User("controller", "etcd"), c.Certificate, c.Key)
	save(certs.Subject{User: "member", Tenants: []string{"etcd"}, Names: []string{"127.0.0.1"}}, file("member.pem"), file("member-key.pem"))
	c.start(addresses(t), file)
	return c
}

// start starts all members, each with an address for the others and one for clients, and waits until they are ready.
func (c *Cluster) start(free []url.URL, file func(string) string) {
	c.t.Helper()
	var all []string
	for i := range size {
		all = append(all, fmt.Sprintf("m%d=%s", i, free[2*i].String()))
		c.Endpoints = append(c.Endpoints, free[2*i+1].String())
	}
	for i := range size {
		config := embed.NewConfig()
		config.Name, config.Dir = fmt.Sprint("m", i), file(fmt.Sprint("m", i))
		config.InitialCluster = strings.Join(all, ",")
		config.ListenPeerUrls, config.AdvertisePeerUrls = free[2*i:2*i+1], free[2*i:2*i+1]
		config.ListenClientUrls, config.AdvertiseClientUrls = free[2*i+1:2*i+2], free[2*i+1:2*i+2]
		security := &config.PeerTLSInfo
		security.CertFile, security.KeyFile, security.TrustedCAFile, security.ClientCertAuth = file("member.pem"), file("member-key.pem"), c.CA, true
		config.ClientTLSInfo = *security
		config.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
		member, err := embed.StartEtcd(config)
		must(c.t, err)
		c.members = append(c.members, member)
		c.t.Cleanup(func() {
			if !c.killed[i] {
				member.Close()
			}
		})
	}
	for _, member := range c.members {
		select {
		case <-member.Server.ReadyNotify():
		case err := <-member.Err():
			c.t.Fatal(err)
		case <-time.After(ready):
			c.t.Fatal("etcd is not ready")
		}
	}
}

// Leader is the number of the member that leads.
func (c *Cluster) Leader() int {
	for i, member := range c.members {
		if member.Server.Leader() == member.Server.MemberID() {
			return i
		}
	}
	c.t.Fatal("etcd has no leader")
	return 0
}

// Kill ends a member without its telling the others.
func (c *Cluster) Kill(member int) {
	c.killed[member] = true
	c.members[member].Server.HardStop()
	c.members[member].Close()
}

// addresses are free ones on loopback, for each member two.
func addresses(t *testing.T) (all []url.URL) {
	t.Helper()
	for range 2 * size {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		defer listener.Close() // at the end, so that all differ
		all = append(all, url.URL{Scheme: "https", Host: listener.Addr().String()})
	}
	return all
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
