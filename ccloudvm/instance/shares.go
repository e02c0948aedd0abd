package instance

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/ciaocloud/ciao/ccloudvm"
	"github.com/ciaocloud/ciao/ccloudvm/image"
	"github.com/ciaocloud/ciao/ccloudvm/qemu"
	"github.com/ciaocloud/ciao/ccloudvm/workload"
)

// ninePOptions are the mount options of a 9p share. cache=none shows at once what changes on the host, which is what editing there and
// running here needs; large messages make up for it. nofail: a machine without its share still boots.
const ninePOptions = "trans=virtio,version=9p2000.L,msize=512000,cache=none,nofail,x-systemd.device-timeout=10"

// chooseShares decides how each mount is shown to the guest, and says why.
func chooseShares(ctx context.Context, mounts []ccloudvm.Mount, base image.Image, root bool) []ccloudvm.Share {
	var shares []ccloudvm.Share
	lacks := lacks9P(ctx, base)
	for _, m := range mounts {
		s := ccloudvm.Share{Mount: m, Backend: ccloudvm.Backend9P, Why: "QEMU and the guest's kernel have it, and it needs no privileges"}
		if lacks != "" {
			s.Backend, s.Why = ccloudvm.BackendSync, lacks
		}
		if s.SecurityModel == "" {
			s.SecurityModel = "none"
		}
		if s.SecurityModel == "passthrough" && !root {
			s.SecurityModel = "none"
			s.Why += "; security model none, because passthrough needs root"
		}
		shares = append(shares, s)
	}
	return shares
}

// lacks9P says why 9p cannot be used, or "".
func lacks9P(ctx context.Context, base image.Image) string {
	if strings.Contains(strings.ToLower(base.Disk+base.Name), "genericcloud") {
		return "copied, because the cloud flavour of Debian's kernel has no 9p"
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, qemu.Binary, "-device", "help").Output()
	if err != nil || !strings.Contains(string(out), `"virtio-9p-pci"`) {
		return "copied, because this QEMU was built without 9p"
	}
	return ""
}

// templateMounts are the shares as templates see them: those the guest has to mount, and those that are copied.
func templateMounts(shares []ccloudvm.Share) (mounted, synced []workload.Mount) {
	for _, s := range shares {
		if s.Backend == ccloudvm.Backend9P {
			mounted = append(mounted, ninePMount(s.Mount))
		} else {
			synced = append(synced, workload.Mount{Mount: s.Mount})
		}
	}
	return mounted, synced
}

// ninePMount is a mount as the guest makes it.
func ninePMount(m ccloudvm.Mount) workload.Mount {
	options := ninePOptions
	if m.ReadOnly {
		options += ",ro"
	}
	return workload.Mount{Mount: m, Type: "9p", Options: options}
}

// checkMounts refuses what cannot be shared.
func checkMounts(mounts []ccloudvm.Mount) error {
	for _, m := range mounts {
		info, err := os.Stat(m.Path)
		if err == nil && !info.IsDir() {
			err = fmt.Errorf("%s is not a directory", m.Path)
		}
		if err != nil {
			return &ccloudvm.Error{Class: ccloudvm.ErrInvalid, Cause: err, Text: fmt.Sprintf("the mount %s cannot be shared: %v", m.Tag, err)}
		}
	}
	return nil
}
