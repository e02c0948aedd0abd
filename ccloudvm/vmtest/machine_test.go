package vmtest_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/ciaocloud/ciao/ccloudvm/guest"
	"github.com/ciaocloud/ciao/ccloudvm/vmtest"
)

func TestMachine(t *testing.T) {
	m := vmtest.Boot(t, vmtest.Options{})
	var out bytes.Buffer
	for _, c := range []string{"uname -a", "systemd-analyze; systemd-analyze blame | head -30; systemd-analyze critical-chain | cat", "cloud-init status --wait --long; cloud-init analyze blame | head -30", "sudo cloud-init schema --system; systemctl --failed; df -h /; lsblk; journalctl -b -p warning | tail -40; free -m; cat /proc/cmdline"} {
		out.Reset()
		err := m.Client.Run(t.Context(), guest.Command{Script: c, Stdout: &out, Stderr: &out})
		t.Logf("%s: %v\n%s", c, err, strings.TrimSpace(out.String()))
	}
}
