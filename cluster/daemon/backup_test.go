package daemon

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/controller"
	"github.com/ciaocloud/ciao/cluster/store/etcdtest"
)

// TestBackupOfAnEtcdCluster saves what a controller has in an etcd cluster, restores it there, and keeps the running controller's
// hands off it.
func TestBackupOfAnEtcdCluster(t *testing.T) {
	e := onEtcd(etcdtest.New(t))
	e.Log = io.Discard
	state, err := e.openStore(t.Context(), e.logger())
	if err != nil {
		t.Fatal(err)
	}
	defer state.Close()
	service, err := controller.New(controller.Config{Store: state})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := service.CreateTenant(t.Context(), controller.TenantRequest{Name: "blue"}); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "b")
	saved, err := e.BackupStore(t.Context(), name)
	if err != nil || saved.Rows < 3 || saved.Cluster != "lab" {
		t.Fatalf("%+v, %v", saved, err)
	}
	if _, err := service.CreateTenant(t.Context(), controller.TenantRequest{Name: "green"}); err != nil {
		t.Fatal(err)
	}
	e.Config.Controller.Directory = filepath.Join(t.TempDir(), "controller")
	if _, kept, err := e.RestoreStore(t.Context(), name, Restoring{}); !errors.Is(err, cluster.ErrExists) || kept != "" {
		t.Fatalf("over a store with rows: %v, kept in %q", err, kept)
	}
	_, kept, err := e.RestoreStore(t.Context(), name, Restoring{Replace: true})
	if err != nil {
		t.Fatal(err)
	}
	if replaced, err := CheckBackup(t.Context(), kept); err != nil || replaced.Rows <= saved.Rows { // green, too
		t.Errorf("kept is %+v, %v", replaced, err)
	}
	<-state.Done()
	found, err := e.CheckStore(t.Context())
	if err != nil || found.Rows != saved.Rows+1 { // with the mark of the restore
		t.Errorf("%+v, %v; saved was %+v", found, err, saved)
	}
}

// TestBackupReplacesNothing: not even a file that is made while the backup is written.
func TestBackupReplacesNothing(t *testing.T) {
	source := etcdtest.New(t)
	e := onEtcd(source)
	e.Log = io.Discard
	name := filepath.Join(t.TempDir(), "b")
	_, err := SaveBackup(name, func(w io.Writer) error {
		if err := os.WriteFile(name, []byte("mine"), 0o600); err != nil {
			return err
		}
		return e.read(t.Context(), func(write func(io.Writer) error) error { return write(w) })
	})
	if text, _ := os.ReadFile(name); !errors.Is(err, cluster.ErrExists) || string(text) != "mine" {
		t.Errorf("%v, there is %q", err, text)
	}
	if left, err := os.ReadDir(filepath.Dir(name)); err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// TestHalfABackupIsNoFile: what breaks off leaves nothing behind, whether its writer noticed or not.
func TestHalfABackupIsNoFile(t *testing.T) {
	directory, broken := t.TempDir(), errors.New("broken")
	for _, fails := range []error{broken, nil} {
		_, err := SaveBackup(filepath.Join(directory, "b"), func(w io.Writer) error {
			_, err := io.WriteString(w, `{"ciao_store_backup":1}`+"\n")
			return errors.Join(err, fails)
		})
		if err == nil || fails != nil && !errors.Is(err, fails) {
			t.Errorf("saved: %v", err)
		}
	}
	if left, err := os.ReadDir(directory); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestBackupIntoNoFolder(t *testing.T) {
	_, err := SaveBackup(filepath.Join(t.TempDir(), "none", "b"), func(io.Writer) error {
		t.Error("the store was read for nothing")
		return nil
	})
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "make it, or name a file elsewhere") {
		t.Errorf("%v", err)
	}
}
