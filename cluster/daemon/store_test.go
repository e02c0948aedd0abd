package daemon

import (
	"errors"
	"io/fs"
	"log/slog"
	"testing"

	"github.com/ciaocloud/ciao/cluster/config"
	"github.com/ciaocloud/ciao/cluster/controller"
	"github.com/ciaocloud/ciao/cluster/store/etcdtest"
)

// onEtcd is the environment of a controller whose store is in an etcd cluster.
func onEtcd(etcd *etcdtest.Cluster) Environment {
	var e Environment
	e.Config.Name, e.Config.TimeScale = "lab", 1
	e.Config.Controller.Store = config.Store{Endpoints: etcd.Endpoints, Prefix: "ciao/lab", CA: etcd.CA, Certificate: etcd.Certificate, Key: etcd.Key}
	return e
}

// TestControllersShareAnEtcdCluster: what one controller records, another with the same cluster file finds, and a cluster with another
// prefix does not.
func TestControllersShareAnEtcdCluster(t *testing.T) {
	e := onEtcd(etcdtest.New(t))
	open := func(e Environment) *controller.Controller {
		t.Helper()
		state, err := e.openStore(t.Context(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := state.Close(); err != nil {
				t.Error(err)
			}
		})
		service, err := controller.New(controller.Config{Store: state})
		if err != nil {
			t.Fatal(err)
		}
		return service
	}
	if _, err := open(e).CreateTenant(t.Context(), controller.TenantRequest{Name: "blue"}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := open(e).Tenant(t.Context(), controller.Operator, "blue"); err != nil {
		t.Errorf("another controller: %v", err)
	}
	e.Config.Controller.Store.Prefix = "ciao/other"
	if _, _, err := open(e).Tenant(t.Context(), controller.Operator, "blue"); err == nil {
		t.Error("another cluster sees the tenant")
	}
	e.Config.Controller.Store.Key = "/nowhere.pem"
	if _, err := e.openStore(t.Context(), slog.New(slog.DiscardHandler)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without the key: %v", err)
	}
}
