package singlevm

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/ciaocloud/ciao/cluster/config"
	"github.com/ciaocloud/ciao/singlevm/machinetest"
	"github.com/ciaocloud/ciao/ssntp"
	"github.com/ciaocloud/ciao/ssntp/certs"
)

// refused wants a command to end with a code and one sentence that has these words, and the machine to be as it was.
func (m *machine) refused(command *exec.Cmd, code int, words ...string) {
	m.Helper()
	got := m.run(command)
	name := strings.Join(command.Args[1:], " ")
	if got.code != code {
		m.Errorf("%s ended with %d, want %d: %s", name, got.code, code, got.err)
	}
	if got.out != "" || strings.Count(strings.TrimSpace(got.err), "\n") != 0 {
		m.Errorf("%s says more than a sentence:\n%s%s", name, got.out, got.err)
	}
	for _, word := range words {
		if !strings.Contains(got.err, word) {
			m.Errorf("%s says nothing of %q: %s", name, word, got.err)
		}
	}
	m.restored("a refused " + name)
}

func (m *machine) command(args ...string) *exec.Cmd {
	return exec.Command(m.program("singlevm"), args...)
}

// What cannot work is refused in one sentence, before anything is made.
func TestMachineRefusesBadInput(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(*machine) *exec.Cmd
		code    int
		words   []string
	}{
		{"no root, setup", func(m *machine) *exec.Cmd { return m.asNobody("setup") }, 5, []string{"root", "sudo"}},
		{"no root, cleanup", func(m *machine) *exec.Cmd { return m.asNobody("cleanup") }, 5, []string{"root", "sudo"}},
		{"no root, verify", func(m *machine) *exec.Cmd { return m.asNobody("verify") }, 5, []string{"root", "sudo"}},
		{"no docker", func(m *machine) *exec.Cmd {
			command := m.command("setup")
			command.Env = append(os.Environ(), "DOCKER_HOST=unix:///nonexistent/docker.sock")
			return command
		}, 8, []string{"Docker Engine", "make deps"}},
		{"broken address of docker", func(m *machine) *exec.Cmd {
			command := m.command("setup")
			command.Env = append(os.Environ(), "DOCKER_HOST=nonsense")
			return command
		}, 2, []string{"DOCKER_HOST"}},
		{"busy port", func(m *machine) *exec.Cmd {
			m.listen(config.APIPort)
			return m.command("setup")
		}, 4, []string{"8889", "ss -ltnp"}},
		{"a bridge that is not ours", func(m *machine) *exec.Cmd {
			m.link(&netlink.Bridge{LinkAttrs: attributes(underlayBridge)})
			return m.command("setup")
		}, 4, []string{underlayBridge, "ip link del"}},
		{"full disk", func(m *machine) *exec.Cmd {
			return m.command("setup", "--directory", m.smallDisk()+"/cluster")
		}, 7, []string{"MiB", "--directory"}},
		{"directory that is not absolute", func(m *machine) *exec.Cmd { return m.command("setup", "--directory", "here") }, 2, []string{"--directory", "absolute"}},
		{"impossible time scale", func(m *machine) *exec.Cmd { return m.command("setup", "--time-scale", "-1") }, 2, []string{"time-scale"}},
		{"missing programs", func(m *machine) *exec.Cmd {
			alone := filepath.Join(m.TempDir(), "singlevm")
			if out, err := exec.Command("cp", m.program("singlevm"), alone).CombinedOutput(); err != nil {
				m.Fatalf("%v: %s", err, out)
			}
			return exec.Command(alone, "setup")
		}, 3, []string{"make build"}},
		{"unknown flag", func(m *machine) *exec.Cmd { return m.command("setup", "--nodez") }, 2, []string{"nodez"}},
		{"unknown command", func(m *machine) *exec.Cmd { return m.command("sutep") }, 2, []string{"sutep", "setup"}},
		{"unknown tenant", func(m *machine) *exec.Cmd { return m.command("env", "red") }, 2, []string{"blue and green"}},
		{"argument that is not wanted", func(m *machine) *exec.Cmd { return m.command("cleanup", "all") }, 2, nil},
		{"no cluster, env", func(m *machine) *exec.Cmd { return m.command("env") }, 3, []string{"singlevm setup"}},
		{"no cluster, status", func(m *machine) *exec.Cmd { return m.command("status") }, 3, []string{"singlevm setup"}},
		{"no cluster, verify", func(m *machine) *exec.Cmd { return m.command("verify") }, 3, []string{"singlevm setup"}},
		{"no cluster, logs", func(m *machine) *exec.Cmd { return m.command("logs", "launcher") }, 3, []string{"singlevm setup"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t)
			command := c.prepare(m)
			m.before = machinetest.Take(t) // with what was prepared
			m.refused(command, c.code, c.words...)
		})
	}
}

func (m *machine) asNobody(args ...string) *exec.Cmd {
	open := m.TempDir() // the checkout may be in somebody's home
	program := filepath.Join(open, "singlevm")
	if out, err := exec.Command("cp", m.program("singlevm"), program).CombinedOutput(); err != nil {
		m.Fatalf("%v: %s", err, out)
	}
	for directory := open; directory != os.TempDir() && directory != "/"; directory = filepath.Dir(directory) {
		if err := os.Chmod(directory, 0o755); err != nil {
			m.Fatal(err)
		}
	}
	command := exec.Command(program, args...)
	command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534, NoSetGroups: true}}
	command.Dir = "/"
	return command
}

func (m *machine) listen(port int) {
	m.Helper()
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{Port: port})
	if err != nil {
		m.Fatal(err)
	}
	m.Cleanup(func() { listener.Close() })
}

func (m *machine) link(link netlink.Link) {
	m.Helper()
	if err := netlink.LinkAdd(link); err != nil {
		m.Fatal(err)
	}
	m.Cleanup(func() {
		if err := netlink.LinkDel(link); err != nil {
			m.Error(err)
		}
	})
}

// smallDisk is a place with room for almost nothing.
func (m *machine) smallDisk() string {
	m.Helper()
	directory := m.TempDir()
	if err := syscall.Mount("tmpfs", directory, "tmpfs", 0, "size=1m"); err != nil {
		m.Fatal(err)
	}
	m.Cleanup(func() {
		if err := syscall.Unmount(directory, 0); err != nil {
			m.Error(err)
		}
	})
	return directory
}

// A daemon that was given what it cannot use ends, and says in one sentence what is wrong.
func TestMachineDaemonRefuses(t *testing.T) {
	m := newMachine(t)
	m.must("setup")
	m.files = t.TempDir()
	if out, err := exec.Command("cp", "-r", DefaultDirectory+"/.", m.files).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	m.cleanup() // the daemons find their ports free
	pki := config.PKI{Directory: layout{m.files}.pki()}
	ours, err := certs.LoadAuthority(pki.CAFile(), pki.CAKeyFile())
	if err != nil {
		t.Fatal(err)
	}
	others, err := certs.NewAuthority("others", 0)
	if err != nil {
		t.Fatal(err)
	}
	node := func(role ssntp.Role, lifetime time.Duration) certs.Subject {
		subject := certs.Node(ssntp.NewID(), role, hostAddress)
		subject.Lifetime = lifetime
		return subject
	}
	for _, c := range []struct {
		name, daemon, certificate string
		authority                 *certs.Authority
		subject                   certs.Subject
		words                     []string
	}{
		{"launcher with a scheduler's certificate", "launcher", config.LauncherCertificate, ours, node(ssntp.RoleScheduler, 0), []string{"certificate", "role"}},
		{"controller with a launcher's certificate", "controller", config.ControllerCertificate, ours, node(ssntp.RoleAgent, 0), []string{"certificate", "role"}},
		{"scheduler with a controller's certificate", "scheduler", config.SchedulerCertificate, ours, node(ssntp.RoleController, 0), []string{"certificate", "role"}},
		{"launcher with a certificate of another authority", "launcher", config.LauncherCertificate, others, node(ssntp.RoleAgent|ssntp.RoleNetAgent, 0), []string{"certificate", "authority"}},
		{"launcher with an expired certificate", "launcher", config.LauncherCertificate, ours, node(ssntp.RoleAgent|ssntp.RoleNetAgent, time.Second), []string{"certificate", "expired"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			pair, err := c.authority.Issue(c.subject)
			if err != nil {
				t.Fatal(err)
			}
			file := m.clusterWith(t, func(text string) string { return text }, func(pki config.PKI) error {
				return pair.Save(pki.CertificateFile(c.certificate), pki.KeyFile(c.certificate))
			})
			if c.subject.Lifetime != 0 {
				machinetest.Eventually(t, "the certificate has expired", time.Minute, func() bool { return time.Now().After(pair.Certificate.NotAfter) })
			}
			m.ends(t, c.daemon, file, 5, c.words...)
		})
	}
	newer := m.clusterWith(t, func(text string) string { return strings.Replace(text, config.Version, "ciao/v99", 1) }, nil)
	m.ends(t, "launcher", newer, 2, "version", "ciao/v99")
	unknown := m.clusterWith(t, func(text string) string { return text + "surprise: 1\n" }, nil)
	m.ends(t, "scheduler", unknown, 2, "surprise")
	m.ends(t, "controller", filepath.Join(t.TempDir(), "none.yaml"), 3, "none.yaml")
	m.listen(config.SSNTPPort)
	busy := m.clusterWith(t, func(text string) string { return text }, nil)
	m.ends(t, "scheduler", busy, 1, "scheduler.listen", "ss -ltnp")
}

// clusterWith makes another cluster file beside copies of the certificates, which change may spoil.
func (m *machine) clusterWith(t *testing.T, change func(string) string, spoil func(config.PKI) error) string {
	t.Helper()
	l := layout{m.files}
	directory := t.TempDir()
	if out, err := exec.Command("cp", "-r", l.pki(), directory).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text, err := os.ReadFile(l.clusterFile())
	if err != nil {
		t.Fatal(err)
	}
	pki := config.PKI{Directory: filepath.Join(directory, "pki")}
	changed := strings.NewReplacer(DefaultDirectory, directory, hostAddress, "127.0.0.1").Replace(change(string(text)))
	file := filepath.Join(directory, "cluster.yaml")
	if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"controller", "launcher"} {
		if err := os.MkdirAll(filepath.Join(directory, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if spoil != nil {
		if err := spoil(pki); err != nil {
			t.Fatal(err)
		}
	}
	return file
}

// endLimit is how long a daemon may take to see that it cannot work.
const endLimit = 20 * time.Second

// ends wants a daemon to end by itself with one last sentence that has these words.
func (m *machine) ends(t *testing.T, daemon, file string, code int, words ...string) {
	t.Helper()
	command := exec.Command(m.program("ciao"), "run", daemon, "--config", file)
	timer := time.AfterFunc(endLimit, func() {
		if command.Process != nil {
			_ = command.Process.Kill()
		}
	})
	defer timer.Stop()
	got := m.run(command)
	all := strings.Split(strings.TrimSpace(got.err), "\n")
	last := all[len(all)-1]
	if got.code != code {
		t.Errorf("ciao run %s ended with %d, want %d:\n%s", daemon, got.code, code, got.err)
	}
	for _, word := range words {
		if !strings.Contains(last, word) {
			t.Errorf("ciao run %s does not say %q at its end: %s", daemon, word, last)
		}
	}
}
