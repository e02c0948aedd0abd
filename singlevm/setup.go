package singlevm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/docker/docker/client"
	"github.com/gofrs/flock"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/network/firewall"
	"github.com/ciaocloud/ciao/singlevm/supervise"
)

// Config says where the cluster is made, and from what.
type Config struct {
	Directory string // where everything is kept; empty is DefaultDirectory
	Programs  string // directory of the programs ciao and singlevm; empty is that of this program
	Docker    string // address of the engine; empty is DOCKER_HOST, else the usual socket
	Nodes     int    // how many there shall be; 0 is those that there are, at least one
	Full      bool   // provide the image debian-12, too, and verify with it
	TimeScale float64
	Storage   string    // file with the part `storage` of the cluster file; empty leaves what an earlier setup was given
	Progress  io.Writer // one line a step, for people
}

// Setup is the harness of one cluster.
type Setup struct {
	config     Config
	layout     layout
	progress   *progress
	engine     *client.Client
	supervisor supervise.Supervisor
	firewall   *firewall.Host
	disks      map[string]string // of virtual machines: the file of each image, once it is made
}

// New makes a harness; nothing on the machine is touched yet.
func New(config Config) (*Setup, error) {
	if config.Directory == "" {
		config.Directory = DefaultDirectory
	}
	if config.Programs == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("find this program: %w", err)
		}
		config.Programs = filepath.Dir(self)
	}
	if config.TimeScale == 0 {
		config.TimeScale = 1
	}
	if !filepath.IsAbs(config.Directory) {
		return nil, fmt.Errorf("%w: --directory %q must be an absolute path", cluster.ErrInvalid, config.Directory)
	}
	if !(config.TimeScale >= 1 && config.TimeScale <= 100) {
		return nil, fmt.Errorf("%w: --time-scale must be from 1 to 100, it is %g", cluster.ErrInvalid, config.TimeScale)
	}
	if config.Nodes < 0 || config.Nodes > maxNodes {
		return nil, fmt.Errorf("%w: --nodes must be from 1 to %d, it is %d", cluster.ErrInvalid, maxNodes, config.Nodes)
	}
	if config.Progress == nil {
		config.Progress = io.Discard
	}
	options := []client.Opt{client.FromEnv, client.WithAPIVersionNegotiation()}
	if config.Docker != "" {
		options = append(options, client.WithHost(config.Docker))
	}
	engine, err := client.NewClientWithOpts(options...)
	if err != nil {
		return nil, fmt.Errorf("%w: the address of the Docker Engine, which DOCKER_HOST gives: %w", cluster.ErrInvalid, err)
	}
	l := layout{config.Directory}
	return &Setup{
		config: config, layout: l, progress: newProgress(config.Progress), engine: engine, disks: map[string]string{},
		supervisor: supervise.New(supervise.Config{
			Cluster: ClusterName, Directory: l.daemons(), Program: l.program("singlevm"),
			Arguments: []string{"supervise", "--directory", l.root},
		}),
		firewall: gatewayFirewall(l),
	}, nil
}

// step is one thing that setup or cleanup does.
type step struct {
	name string
	do   func(context.Context) error
}

// Run brings the cluster up: the whole start-up is this list.
func (s *Setup) Run(ctx context.Context) error {
	if err := s.preflight(ctx); err != nil {
		return err
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if source := s.staleSource(); source != "" {
		s.progress.say("! %s is newer than the programs: `make build`, or `singlevm setup --build`, brings it in", source)
	}
	images := []step{{"image " + tinyImage, s.makeTiny}}
	if s.config.Full {
		images = append(images, step{"image " + debianImage, s.makeDebian})
	}
	return s.steps(ctx, slices.Concat([]step{
		{"certificates and the cluster file", s.makeFiles},
		{"underlay: bridge " + underlayBridge + ", " + underlayHost + " " + hostAddress, s.makeUnderlay},
		{"image " + busyboxImage, s.makeImage},
	}, images, []step{
		{"nodes that were broken", s.healAll},
		{"daemons: gateway, dhcp, scheduler, controller, launchers", s.startDaemons},
		{"the controller answers and the nodes are ready", s.waitReady},
		{"tenants " + fmt.Sprint(tenantNames) + " and workloads", s.makeTenants},
	}))
}

func (s *Setup) steps(ctx context.Context, steps []step) error {
	for _, step := range steps {
		if err := s.progress.step(step.name, func() error { return step.do(ctx) }); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

// preflight refuses before anything is made what could not work.
func (s *Setup) preflight(ctx context.Context) error {
	for _, check := range s.checks() {
		if check.needed && !check.repeat {
			if err := check.look(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// lock lets one setup or cleanup work at a time.
func (s *Setup) lock(ctx context.Context) (unlock func(), err error) {
	if err := os.MkdirAll(s.layout.root, 0o755); err != nil {
		return nil, fmt.Errorf("make %s: %w", s.layout.root, err)
	}
	lock := flock.New(s.layout.lock())
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if locked, err := lock.TryLockContext(ctx, 50*time.Millisecond); err != nil || !locked {
		return nil, fmt.Errorf("%w: another singlevm works on %s; wait for it", cluster.ErrConflict, s.layout.root)
	}
	return func() { _ = lock.Unlock() }, nil // the lock goes with the process in any case
}

// program is where a build put a program; the daemons run copies (see copyPrograms).
func (s *Setup) program(name string) string { return filepath.Join(s.config.Programs, name) }

// startDaemons hands the daemons to the supervisor, which restarts those whose program or files are new.
func (s *Setup) startDaemons(ctx context.Context) error {
	daemons, err := s.daemons()
	if err != nil {
		return err
	}
	return s.supervisor.Apply(ctx, daemons)
}

func (s *Setup) daemons() ([]supervise.Daemon, error) {
	dnsmasq, err := exec.LookPath("dnsmasq")
	if err != nil {
		dnsmasq = "/usr/sbin/dnsmasq"
	}
	singlevm, ciao := s.layout.program("singlevm"), s.layout.program("ciao")
	role := func(name, summary string, after ...string) supervise.Daemon {
		return supervise.Daemon{Name: name, Summary: summary, Command: []string{ciao, "run", name, "--config", s.layout.clusterFile()}, After: after}
	}
	daemons := []supervise.Daemon{
		{Name: "gateway", Summary: "the underlay's way out", Command: []string{singlevm, "gateway", "--directory", s.layout.root}},
		{Name: "dhcp", Summary: "the underlay's DHCP and DNS", Command: append([]string{dnsmasq}, s.dhcpArguments()...), After: []string{"gateway"}},
		role("scheduler", "the hub", "gateway"),
		role("controller", "state and API", "scheduler"),
	}
	for i := range daemons {
		if daemons[i].Identity, err = supervise.IdentityOf(daemons[i].Command[0], s.layout.clusterFile()); err != nil {
			return nil, err
		}
	}
	launchers, err := s.launchers()
	return append(daemons, launchers...), err
}

// waitReady waits until the cluster can run instances.
func (s *Setup) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.scaled(30*time.Second))
	defer cancel()
	var last error
	for {
		if last = s.nodesReady(ctx); last == nil {
			return nil
		}
		if failed := s.failedDaemon(ctx); failed != nil {
			last = failed
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: the cluster did not come up: %w; `singlevm status` and `singlevm logs` tell more", cluster.ErrTimeout, last)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// failedDaemon is the problem of a daemon that keeps ending, which explains a wait better than silence.
func (s *Setup) failedDaemon(ctx context.Context) error {
	all, err := s.supervisor.Status(ctx)
	if err != nil {
		return err
	}
	for _, daemon := range all {
		if !daemon.Running && daemon.Restarts > 2 {
			return fmt.Errorf("%s keeps ending (%s)", daemon.Name, daemon.Problem)
		}
	}
	return nil
}

func (s *Setup) scaled(d time.Duration) time.Duration {
	return time.Duration(s.config.TimeScale * float64(d))
}

// Supervise is the process that keeps the daemons running where systemd does not.
func (s *Setup) Supervise(ctx context.Context, log *slog.Logger) error {
	return supervise.Serve(ctx, supervise.Config{Cluster: ClusterName, Directory: s.layout.daemons()}, log)
}

// replaceFile writes a file so that a reader sees the old one or the new one.
func replaceFile(name string, data []byte, mode os.FileMode) error {
	temporary := name + ".new"
	err := os.WriteFile(temporary, data, mode)
	if err == nil {
		err = os.Rename(temporary, name)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// portFree says whether an address can be listened on.
func portFree(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	return errors.Join(listener.Close())
}
