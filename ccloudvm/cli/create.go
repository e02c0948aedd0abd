package cli

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ciaocloud/ciao/ccloudvm"
	"github.com/ciaocloud/ciao/ccloudvm/image"
	"github.com/ciaocloud/ciao/ccloudvm/instance"
	"github.com/ciaocloud/ciao/terminal"
)

// machine are the flags about the machine.
type machine struct {
	mem, cpus, disk, qemuPort int
	hostIP                    string
	mounts, drives, ports     []string
	timeout                   time.Duration
}

func (m *machine) add(flags *pflag.FlagSet) {
	flags.IntVar(&m.mem, "mem", 0, "memory in `MIB`")
	flags.IntVar(&m.cpus, "cpus", 0, "`NUMBER` of CPUs")
	flags.StringArrayVar(&m.mounts, "mount", nil, "share a directory of the host, at the same path: `TAG,SECURITY-MODEL,PATH[,ro]`")
	flags.StringArrayVar(&m.drives, "drive", nil, "attach a disk of the host: `PATH,FORMAT[,OPTION,…]`")
	flags.StringArrayVar(&m.ports, "port", nil, "forward a port: `HOST-GUEST`")
	flags.IntVar(&m.qemuPort, "qemuport", 0, "TCP `PORT` on localhost with the guest's second serial line")
	flags.DurationVar(&m.timeout, "timeout", 0, "give up after this `TIME`, such as 10m")
}

// creation are the flags of create.
type creation struct {
	machine
	name, accelerator, image string
	upgrade, keep, debug     bool
}

func (o *creation) add(flags *pflag.FlagSet) {
	o.machine.add(flags)
	flags.StringVar(&o.name, "name", "", "`NAME` of the instance; otherwise the workload's")
	flags.IntVar(&o.disk, "disk", 0, "size of the disk in `GIB`")
	flags.StringVar(&o.hostIP, "hostip", "", "`ADDRESS` of the host for the ports; otherwise an own 127.x.y.z")
	flags.BoolVar(&o.upgrade, "package-upgrade", false, "upgrade the distribution's packages")
	flags.BoolVar(&o.keep, "keep", false, "keep the instance when its creation fails")
	flags.StringVar(&o.accelerator, "accel", "auto", "accelerator: `auto|kvm|tcg`")
	flags.StringVar(&o.image, "image", "auto", "where the base image comes from: `auto|build|download`")
	flags.BoolVar(&o.debug, "debug", false, "show the cloud-config")
}

func (c *command) create() *cobra.Command {
	var o creation
	command := &cobra.Command{
		Use: "create WORKLOAD", Short: "Make an instance of a workload and set it up", Args: terminal.Arguments("WORKLOAD"),
		Long:              "Make an instance of a workload and set it up. WORKLOAD is a name (see `ccloudvm workloads`), a path or a URL.",
		ValidArgsFunction: c.completeWorkload,
		RunE: func(command *cobra.Command, args []string) error {
			overrides, err := o.overrides(command.Flags())
			if err != nil {
				return err
			}
			return c.doCreate(command.Context(), args[0], o, overrides)
		},
	}
	o.add(command.Flags())
	return command
}

func (c *command) doCreate(ctx context.Context, workload string, o creation, overrides instance.Overrides) error {
	m, err := c.manager()
	if err != nil {
		return err
	}
	req := instance.CreateRequest{
		Workload: workload, Name: o.name, Overrides: overrides, PackageUpgrade: o.upgrade, Accelerator: o.accelerator, Keep: o.keep,
	}
	if req.ImagePolicy, err = policy(o.image); err != nil {
		return err
	}
	if o.debug {
		req.Inspect = func(userData []byte) { fmt.Fprintln(c.streams.Err, concealed(string(userData))) }
	}
	ctx, cancel := o.limit(ctx)
	defer cancel()
	show := newProgress(c.streams.Err)
	made, err := m.Create(ctx, req, show.event)
	show.close(err)
	if err != nil {
		return err
	}
	show.summary(made)
	fmt.Fprintf(c.streams.Err, "\n%s is ready: ccloudvm connect %s\n", made.Name, made.Name)
	fmt.Fprintln(c.streams.Out, made.Name)
	return nil
}

func policy(text string) (image.Policy, error) {
	switch text {
	case "auto":
		return image.Auto, nil
	case "build":
		return image.BuildOnly, nil
	case "download":
		return image.DownloadOnly, nil
	}
	return "", terminal.Usage("--image %s: it is auto, build or download", text)
}

// limit is the command's context with the deadline of --timeout.
func (m *machine) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	if m.timeout > 0 {
		return context.WithTimeout(ctx, m.timeout)
	}
	return context.WithCancel(ctx)
}

// overrides are what the flags change of a workload's machine, or of an instance's.
func (m *machine) overrides(flags *pflag.FlagSet) (instance.Overrides, error) {
	o := instance.Overrides{MemMiB: m.mem, CPUs: m.cpus, DiskGiB: m.disk, QEMUPort: m.qemuPort, HostIP: m.hostIP}
	for flag, value := range map[string]int{"mem": m.mem, "cpus": m.cpus, "disk": m.disk, "qemuport": m.qemuPort} {
		if flags.Changed(flag) && value <= 0 {
			return o, terminal.Usage("--%s %d: it must be more than nothing", flag, value)
		}
	}
	if flags.Changed("timeout") && m.timeout < time.Second {
		return o, terminal.Usage("--timeout must be a second at least")
	}
	for _, text := range m.mounts {
		text, readOnly := strings.CutSuffix(text, ",ro")
		parts := strings.SplitN(text, ",", 3)
		if len(parts) != 3 {
			return o, terminal.Usage("--mount %s: it is TAG,SECURITY-MODEL,PATH[,ro], such as src,none,/home/me/src", text)
		}
		o.Mounts = append(o.Mounts, ccloudvm.Mount{Tag: parts[0], SecurityModel: parts[1], Path: parts[2], ReadOnly: readOnly})
	}
	for _, text := range m.drives {
		parts := strings.SplitN(text, ",", 3)
		if len(parts) < 2 {
			return o, terminal.Usage("--drive %s: it is PATH,FORMAT[,OPTION,…], such as /data/disk.qcow2,qcow2", text)
		}
		o.Drives = append(o.Drives, ccloudvm.Drive{Path: parts[0], Format: parts[1], Options: strings.Join(parts[2:], ",")})
	}
	for _, text := range m.ports {
		p, err := port(text)
		if err != nil {
			return o, err
		}
		o.Ports = append(o.Ports, p)
	}
	return o, nil
}

func port(text string) (ccloudvm.Port, error) {
	host, guest, ok := strings.Cut(text, "-")
	h, err1 := strconv.Atoi(host)
	g, err2 := strconv.Atoi(guest)
	if !ok || err1 != nil || err2 != nil {
		return ccloudvm.Port{}, terminal.Usage("--port %s: it is HOST-GUEST, such as 8080-80", text)
	}
	return ccloudvm.Port{Host: h, Guest: g}, nil
}

// secrets are what a cloud-config holds that is not to be shown: passwords in URLs and private keys.
var secrets = regexp.MustCompile(`(://)[^/@\s"]+@|(?s:-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----)`)

func concealed(config string) string { return secrets.ReplaceAllString(config, "${1}*****") }

func isTerminal(w any) (*os.File, bool) {
	f, ok := w.(*os.File)
	return f, ok && terminalSize(f) != nil
}
