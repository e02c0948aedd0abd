package singlevm

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/cluster/network/firewall"
)

// Timing of the gateway: a new engine is noticed soon, for it puts its own rules before ours; anything else is repaired in time.
const (
	enginePeriod = time.Second
	repairPeriod = 30 * time.Second
)

// gatewayFirewall is the way out of the underlay through this machine.
func gatewayFirewall(l layout) *firewall.Host {
	return firewall.NewHost(firewall.HostConfig{
		Cluster: ClusterName, Interface: underlayHost, Underlay: netip.MustParsePrefix(underlayPrefix),
		Underlay6: netip.MustParsePrefix(underlayPrefix6), State: filepath.Join(l.gateway(), "before.json"),
	})
}

// Gateway is the process that keeps the underlay and its way out as they should be: it makes them, and makes them again after the
// Docker Engine or a person changed the machine's firewall.
func (s *Setup) Gateway(ctx context.Context, log *slog.Logger) error {
	look := time.NewTicker(enginePeriod)
	defer look.Stop()
	var engine engineIdentity
	var repaired time.Time
	for {
		if now := identifyEngine(); now != engine || time.Since(repaired) > repairPeriod {
			engine, repaired = now, time.Now()
			if err := errors.Join(s.makeUnderlay(ctx), s.firewall.Apply(ctx)); err != nil {
				log.Error("the way out of the underlay is not as it should be", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		}
	}
}

// engineIdentity changes when the engine is started again.
type engineIdentity struct {
	modified time.Time
	size     int64
}

// identifyEngine looks at the engine's pid file, which costs nothing.
func identifyEngine() engineIdentity {
	for _, name := range []string{"/run/docker.pid", "/var/run/docker.pid"} {
		info, err := os.Stat(name)
		if err == nil {
			return engineIdentity{info.ModTime(), info.Size()}
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return engineIdentity{}
		}
	}
	return engineIdentity{}
}

// newClient makes a client, or says what is missing.
func newClient(config client.Config) (*client.Client, error) {
	if !exists(config.Certificate) {
		return nil, errNoCluster
	}
	return client.New(config)
}

// errNoCluster is what commands say that need a cluster where there is none.
var errNoCluster = noCluster{}

type noCluster struct{}

func (noCluster) Error() string { return "there is no cluster on this machine: run `singlevm setup`" }
func (noCluster) Unwrap() error { return cluster.ErrNotFound }
