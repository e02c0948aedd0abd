// Package cephtest runs a real Ceph cluster for tests: a monitor, and an OSD with BlueStore in a file.
package cephtest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/google/uuid"

	"github.com/ciaocloud/ciao/require"
)

// Pool is the pool that a cluster begins with, and User who may use it for RBD.
const (
	Pool = "volumes"
	User = "ciao"
)

// Cluster is a running Ceph cluster.
type Cluster struct {
	Configuration string // everybody may read it
	Keyring       string // of User
	admin         string
}

// patience bounds each step; a loaded machine takes its time.
const patience = 2 * time.Minute

// configuration is for the daemons and for all who use them.
var configuration = template.Must(template.New("").Parse(`
[global]
fsid = {{.ID}}
mon host = [v2:127.0.0.1:{{.Port}}]
public addr = 127.0.0.1
ms bind msgr1 = false
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd crush chooseleaf type = 0
[mon]
admin socket =
log file = {{.Directory}}/$name.log
mon cluster log file = {{.Directory}}/cluster.log
mon data = {{.Directory}}/mon
paxos propose interval = 0.05
paxos min wait = 0.01
mon allow pool size one = true
mon allow pool delete = true
mon data avail crit = 1
[osd]
admin socket =
log file = {{.Directory}}/$name.log
osd data = {{.Directory}}/osd
osd objectstore = bluestore
bluestore block size = 8589934592
bluestore cache autotune = false
bluestore cache size = 67108864
bluestore fsck on mkfs = false
`))

// Start runs a cluster that ends with the test.
func Start(t testing.TB) Cluster {
	t.Helper()
	require.Ceph(t)
	directory, err := os.MkdirTemp("", "ciao-ceph-") // where QEMU, which is not root, comes to the configuration
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(directory) })
	if err := os.Chmod(directory, 0o711); err != nil {
		t.Fatal(err)
	}
	c := Cluster{
		Configuration: filepath.Join(directory, "ceph.conf"), Keyring: filepath.Join(directory, "ciao.keyring"), admin: filepath.Join(directory, "admin.keyring"),
	}
	id := uuid.NewString()
	port := freePort(t)
	var text bytes.Buffer
	if err := configuration.Execute(&text, map[string]any{"ID": id, "Port": port, "Directory": directory}); err != nil {
		t.Fatal(err)
	}
	write(t, c.Configuration, text.String(), 0o644)
	c.startMonitor(t, directory, id, port)
	c.startOSD(t, directory)
	c.CreatePool(t, Pool)
	write(t, c.Keyring, c.Ceph(t, "auth", "get-or-create", "client."+User, "mon", "profile rbd", "osd", "profile rbd"), 0o600)
	return c
}

func (c Cluster) startMonitor(t testing.TB, directory, id string, port int) {
	t.Helper()
	for _, name := range []string{"mon", "osd"} {
		if err := os.Mkdir(filepath.Join(directory, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	monmap, keyring := filepath.Join(directory, "monmap"), filepath.Join(directory, "mon.keyring")
	run(t, "ceph-authtool", "--create-keyring", keyring, "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
	run(t, "ceph-authtool", "--create-keyring", c.admin, "--gen-key", "-n", "client.admin", "--cap", "mon", "allow *", "--cap", "osd", "allow *")
	run(t, "ceph-authtool", keyring, "--import-keyring", c.admin)
	run(t, "monmaptool", "--create", "--addv", "a", fmt.Sprintf("[v2:127.0.0.1:%d]", port), "--fsid", id, monmap)
	run(t, "ceph-mon", "--conf", c.Configuration, "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", keyring)
	background(t, "ceph-mon", "--conf", c.Configuration, "-i", "a", "-f")
}

func (c Cluster) startOSD(t testing.TB, directory string) {
	t.Helper()
	id, secret := uuid.NewString(), strings.TrimSpace(run(t, "ceph-authtool", "--gen-print-key"))
	secrets := filepath.Join(directory, "secrets.json")
	write(t, secrets, fmt.Sprintf(`{"cephx_secret": %q}`, secret), 0o600)
	c.Ceph(t, "osd", "new", id, "-i", secrets)
	run(t, "ceph-authtool", "--create-keyring", filepath.Join(directory, "osd", "keyring"), "--name", "osd.0", "--add-key", secret)
	run(t, "ceph-osd", "--conf", c.Configuration, "-i", "0", "--mkfs", "--osd-uuid", id)
	background(t, "ceph-osd", "--conf", c.Configuration, "-i", "0", "-f")
}

// CreatePool makes a pool for RBD images; it waits until that works.
func (c Cluster) CreatePool(t testing.TB, name string) {
	t.Helper()
	c.Ceph(t, "osd", "pool", "create", name, "8")
	c.RBD(t, "pool", "init", name)
}

// Ceph runs the program ceph as the administrator.
func (c Cluster) Ceph(t testing.TB, args ...string) string {
	t.Helper()
	return run(t, "ceph", append([]string{"--conf", c.Configuration, "--keyring", c.admin, "--connect-timeout", "60"}, args...)...)
}

// RBD runs the program rbd as the administrator.
func (c Cluster) RBD(t testing.TB, args ...string) string {
	t.Helper()
	return run(t, "rbd", append([]string{"--conf", c.Configuration, "--keyring", c.admin}, args...)...)
}

func freePort(t testing.TB) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

func write(t testing.TB, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// run returns what a program prints to standard output.
func run(t testing.TB, program string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	defer cancel()
	command := exec.CommandContext(ctx, program, args...)
	var complaints bytes.Buffer
	command.Stderr = &complaints
	out, err := command.Output()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", program, strings.Join(args, " "), err, &complaints)
	}
	return string(out)
}

// background runs a program until the end of the test.
func background(t testing.TB, program string, args ...string) {
	t.Helper()
	command := exec.Command(program, args...)
	var complaints bytes.Buffer
	command.Stderr = &complaints
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		command.Process.Kill()
		command.Wait()
		if t.Failed() {
			t.Logf("%s said: %s", program, &complaints)
		}
	})
}
