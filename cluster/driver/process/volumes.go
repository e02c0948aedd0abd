package process

import (
	"fmt"
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
)

// Stores implements driver.Storer: a process finds the files of a volume in a directory.
func (d *Driver) Stores(content cluster.VolumeContent) bool { return content == cluster.ContentFiles }

// bound is a volume as the runtime binds it, in the process's own mount namespace: it goes with the process, however that ends.
func bound(v driver.Volume) specs.Mount {
	access := "rw"
	if v.ReadOnly {
		access = "ro"
	}
	return specs.Mount{Destination: v.Target, Type: "bind", Source: v.Place.Directory, Options: []string{"bind", "rprivate", "nosuid", "nodev", access}}
}

// ownVolumes gives volumes that nobody has written to yet to the process's user, who is not root and could write to none otherwise.
func ownVolumes(described description) error {
	for _, v := range described.Volumes {
		if v.ReadOnly {
			continue
		}
		entries, err := os.ReadDir(v.Place.Directory)
		if err == nil && len(entries) == 0 {
			err = os.Chown(v.Place.Directory, int(described.UID), int(described.GID))
		}
		if err != nil {
			return fmt.Errorf("volume %s: %w", v.Name, err)
		}
	}
	return nil
}
