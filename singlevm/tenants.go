package singlevm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/google/uuid"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/cluster/config"
	"github.com/ciaocloud/ciao/workloads"
)

// Tenants that setup makes: two, so that isolation can be seen.
var tenantNames = []string{"blue", "green"}

// operatorName is the user that acts for all.
const operatorName = "admin"

// tenantIDs are the ids of the tenants by name; they are made once, for certificates carry them.
func (s *Setup) tenantIDs() (map[string]string, error) {
	data, err := os.ReadFile(s.layout.tenantsFile())
	if err == nil {
		ids := make(map[string]string)
		if err := json.Unmarshal(data, &ids); err != nil {
			return nil, fmt.Errorf("read %s: %w; `singlevm cleanup` and a new setup make it again", s.layout.tenantsFile(), err)
		}
		return ids, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the tenants: %w", err)
	}
	ids := make(map[string]string)
	for _, name := range tenantNames {
		ids[name] = uuid.NewString()
	}
	if data, err = json.Marshal(ids); err != nil {
		return nil, fmt.Errorf("write the tenants: %w", err)
	}
	return ids, replaceFile(s.layout.tenantsFile(), data, 0o600)
}

// makeTenants makes the tenants, pools of external IPs and the public workloads through the API, as an operator would.
func (s *Setup) makeTenants(ctx context.Context) error {
	ids, err := s.tenantIDs()
	if err != nil {
		return err
	}
	operator, err := client.New(s.layout.client(operatorName))
	if err != nil {
		return err
	}
	defer operator.Close()
	for _, name := range tenantNames {
		if _, err := operator.CreateTenant(ctx, api.CreateTenant{ID: ids[name], Name: name}); err != nil && !errors.Is(err, cluster.ErrExists) {
			return fmt.Errorf("create tenant %s: %w", name, err)
		}
	}
	for name, disk := range s.disks {
		if err := upload(ctx, operator, name, disk); err != nil {
			return err
		}
	}
	return errors.Join(makePools(ctx, operator), s.makeWorkloads(ctx, operator))
}

// makeWorkloads makes the workloads that come with the program, but for virtual machines whose image is not here.
func (s *Setup) makeWorkloads(ctx context.Context, operator *client.Client) error {
	files, err := fs.Glob(workloads.Files, "cluster/*.yaml")
	if err != nil {
		return fmt.Errorf("find the workloads: %w", err)
	}
	for _, name := range files {
		data, err := fs.ReadFile(workloads.Files, name)
		if err != nil {
			return fmt.Errorf("read workload %s: %w", name, err)
		}
		file, err := config.ParseWorkload(name, data)
		if err != nil {
			return err
		}
		if file.Spec.Kind == cluster.KindVM && s.disks[file.Spec.Image] == "" {
			continue
		}
		if _, err := operator.CreateWorkload(ctx, api.NewWorkload(file.Name, file.Visibility, file.Spec)); err != nil && !errors.Is(err, cluster.ErrExists) {
			return fmt.Errorf("create workload %s: %w", file.Name, err)
		}
	}
	return nil
}

// client says how a user reaches the cluster.
func (l layout) client(user string) client.Config {
	return client.Config{Controller: hostAddress, Certificate: l.user(user), CA: l.userCA()}
}
