package cli_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ciaocloud/ciao/cluster/apiserver/apiservertest"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/cluster/store/etcdembed"
)

// clusterFile is the file of a cluster whose controller is stopped; its store is in the returned directory.
func clusterFile(t *testing.T, name string) (file, directory string) {
	t.Helper()
	directory = filepath.Join(t.TempDir(), "controller")
	file = filepath.Join(t.TempDir(), "cluster.yaml")
	text := "api_version: ciao/v1\nname: " + name + "\nscheduler: {addresses: ['127.0.0.1:8888']}\nnetwork: {underlay: ciao_br}\ncontroller: {directory: " + directory + "}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, filepath.Join(directory, "etcd")
}

// rowLines are the rows of a backup, without its head and end and the mark of a restore.
func rowLines(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	lines := slices.DeleteFunc(bytes.SplitAfter(bytes.TrimSuffix(data, []byte("\n")), []byte("\n")), func(line []byte) bool {
		return bytes.Contains(line, []byte(`"restorations/`)) // the mark of a restore
	})
	return string(bytes.Join(lines[1:len(lines)-1], nil))
}

func backUp(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "store.backup")
	works(t, "store", "backup", name)
	return name
}

func TestBackupOfARunningController(t *testing.T) {
	a := start(t)
	works(t, "create", "instance", "busybox", "--instances", "3", "--name", "web")
	name := backUp(t)
	info, err := os.Stat(name)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if rows := rowLines(t, name); !strings.Contains(rows, `"busybox"`) || !strings.Contains(rows, apiservertest.Green) {
		t.Errorf("something is missing in %s", rows)
	}
	found := decode[map[string]any](t, works(t, "store", "check", name, "-o", "json"))
	if found["cluster"] != "test" || found["format"] != 1.0 || found["rows"] != float64(strings.Count(rowLines(t, name), "\n")) {
		t.Errorf("it holds %v", found)
	}
	refuses(t, 4, []string{"store", "backup", name}, "is there already", "name a new file")
	refuses(t, 3, []string{"store", "backup", "/no/such/folder/b"}, "/no/such/folder")
	refuses(t, 4, []string{"store", "settle"}, "has not been restored")
	t.Setenv(client.EnvAdminCert, "")
	refuses(t, 5, []string{"store", "settle"}, client.EnvAdminCert)
	user := os.Getenv(client.EnvClientCert)
	t.Setenv(client.EnvClientCert, "")
	refuses(t, 2, []string{"store", "settle"}, "set "+client.EnvAdminCert+" to the file with your certificate and key, as an operator")
	refuses(t, 2, []string{"list", "instances"}, "set "+client.EnvClientCert)
	t.Setenv(client.EnvClientCert, user)
	refuses(t, 5, []string{"store", "backup", filepath.Join(t.TempDir(), "x")}, client.EnvAdminCert)
	t.Setenv(client.EnvAdminCert, a.Operator())
	t.Setenv(client.EnvController, "127.0.0.1:1")
	directory := t.TempDir()
	refuses(t, 8, []string{"store", "backup", filepath.Join(directory, "x")}, "is it running")
	if left, err := os.ReadDir(directory); err != nil || len(left) > 0 {
		t.Errorf("a backup that failed leaves %v, %v", left, err)
	}
}

func TestRestoreForAStoppedController(t *testing.T) {
	start(t)
	name := backUp(t)
	file, directory := clusterFile(t, "test")
	refuses(t, 3, []string{"store", "check", "--config", file}, "there is no store in "+directory)
	refuses(t, 3, []string{"store", "backup", "--stopped", filepath.Join(t.TempDir(), "b"), "--config", file}, "there is no store")
	if _, err := os.Stat(directory); err == nil {
		t.Error("a look at a store makes one")
	}
	if s := ciao(t, "store", "restore", name, "--config", file); s.code != 0 || !strings.Contains(s.err, "start the controller") {
		t.Fatalf("%+v", s)
	}
	works(t, "store", "check", "--config", file)
	again := filepath.Join(t.TempDir(), "again.backup")
	works(t, "store", "backup", "--stopped", again, "--config", file)
	if rowLines(t, again) != rowLines(t, name) {
		t.Errorf("restored is %s, saved was %s", rowLines(t, again), rowLines(t, name))
	}
	refuses(t, 4, []string{"store", "restore", name, "--config", file}, "would be replaced", "--force")
	works(t, "store", "restore", name, "--force", "--config", file)

	other, _ := clusterFile(t, "other")
	for _, more := range [][]string{nil, {"--force"}} {
		refuses(t, 4, append([]string{"store", "restore", name, "--config", other}, more...), "cluster test", "of other", "--other-cluster")
	}
	works(t, "store", "restore", name, "--config", other, "--other-cluster")

	server, err := etcdembed.Start(t.Context(), etcdembed.Config{Dir: directory, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"store", "restore", name, "--force"}, {"store", "check"}, {"store", "backup", "--stopped", again + "2"}} {
		refuses(t, 4, append(args, "--config", file), "is in use by process", "stop it")
	}
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestBadBackupsAreRefused(t *testing.T) {
	start(t)
	good, err := os.ReadFile(backUp(t))
	if err != nil {
		t.Fatal(err)
	}
	file, directory := clusterFile(t, "test")
	for _, test := range []struct {
		name string
		data []byte
		says string
	}{
		{"cut short", good[:len(good)-10], "use a whole copy of it"},
		{"changed", bytes.Replace(good, []byte("busybox"), []byte("busybex"), 1), "use another copy of it"},
		{"something else", []byte(busybox), "is not a backup of a ciao store"},
		{"of a newer program", bytes.Replace(good, []byte(`"ciao_store_backup":1`), []byte(`"ciao_store_backup":2`), 1), "as new as the backup"},
	} {
		t.Run(test.name, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "b")
			if err := os.WriteFile(name, test.data, 0o600); err != nil {
				t.Fatal(err)
			}
			refuses(t, 2, []string{"store", "check", name}, name, test.says)
			refuses(t, 2, []string{"store", "restore", name, "--force", "--config", file}, name, test.says)
		})
	}
	if _, err := os.Stat(directory); err == nil {
		t.Error("a refused restore makes a store")
	}
	refuses(t, 3, []string{"store", "check", "/no/such"}, "/no/such")
	refuses(t, 3, []string{"store", "restore", "/no/such", "--config", file}, "/no/such")
}
