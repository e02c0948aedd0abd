package cli

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	urfave "github.com/urfave/cli/v2"

	"github.com/ciaocloud/ciao/ccloudvm"
	"github.com/ciaocloud/ciao/ccloudvm/image"
	"github.com/ciaocloud/ciao/ccloudvm/instance"
)

func machineFlags() []urfave.Flag {
	return []urfave.Flag{
		&urfave.IntFlag{Name: "mem", Usage: "memory in `MIB`"},
		&urfave.IntFlag{Name: "cpus", Usage: "`NUMBER` of CPUs"},
		&urfave.StringSliceFlag{Name: "mount", Usage: "share a directory of the host, at the same path: `TAG,SECURITY-MODEL,PATH`"},
		&urfave.StringSliceFlag{Name: "drive", Usage: "attach a disk of the host: `PATH,FORMAT[,OPTION,…]`"},
		&urfave.StringSliceFlag{Name: "port", Usage: "forward a port: `HOST-GUEST`"},
		&urfave.IntFlag{Name: "qemuport", Usage: "TCP `PORT` on localhost with the guest's second serial line"},
		&urfave.DurationFlag{Name: "timeout", Usage: "give up after this `TIME`, such as 10m"},
	}
}

func (c *command) create() *urfave.Command {
	return &urfave.Command{
		Name: "create", Usage: "make an instance of a workload and set it up", ArgsUsage: "WORKLOAD",
		Description: "WORKLOAD is a name (see `ccloudvm workloads`), a path or a URL.",
		Flags: append(machineFlags(),
			&urfave.StringFlag{Name: "name", Usage: "`NAME` of the instance; otherwise the workload's"},
			&urfave.IntFlag{Name: "disk", Usage: "size of the disk in `GIB`"},
			&urfave.StringFlag{Name: "hostip", Usage: "`ADDRESS` of the host for the ports; otherwise an own 127.x.y.z"},
			&urfave.BoolFlag{Name: "package-upgrade", Usage: "upgrade the distribution's packages"},
			&urfave.BoolFlag{Name: "keep", Usage: "keep the instance when its creation fails"},
			&urfave.StringFlag{Name: "accel", Usage: "accelerator: `auto|kvm|tcg`", Value: "auto"},
			&urfave.StringFlag{Name: "image", Usage: "where the base image comes from: `auto|build|download`", Value: "auto"},
			&urfave.BoolFlag{Name: "debug", Usage: "show the cloud-config"},
		),
		BashComplete: c.completeWorkloads,
		Action:       c.doCreate,
	}
}

func (c *command) doCreate(ctx *urfave.Context) error {
	if ctx.NArg() != 1 {
		return usage("create takes one workload: ccloudvm create WORKLOAD (see `ccloudvm workloads`)")
	}
	m, err := c.manager()
	if err != nil {
		return err
	}
	overrides, err := overrides(ctx)
	if err != nil {
		return err
	}
	req := instance.CreateRequest{
		Workload: ctx.Args().First(), Name: ctx.String("name"), Overrides: overrides, PackageUpgrade: ctx.Bool("package-upgrade"),
		Accelerator: ctx.String("accel"), Keep: ctx.Bool("keep"),
	}
	if req.ImagePolicy, err = policy(ctx.String("image")); err != nil {
		return err
	}
	if ctx.Bool("debug") {
		req.Inspect = func(userData []byte) { fmt.Fprintln(c.streams.Err, concealed(string(userData))) }
	}
	limited, cancel := limit(ctx)
	defer cancel()
	show := newProgress(c.streams.Err)
	made, err := m.Create(limited, req, show.event)
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
	return "", usage(fmt.Sprintf("--image %s: it is auto, build or download", text))
}

// limit is the command's context with the deadline of --timeout.
func limit(ctx *urfave.Context) (context.Context, context.CancelFunc) {
	if d := ctx.Duration("timeout"); d > 0 {
		return context.WithTimeout(ctx.Context, d)
	}
	return context.WithCancel(ctx.Context)
}

// overrides reads the flags about the machine.
func overrides(ctx *urfave.Context) (instance.Overrides, error) {
	o := instance.Overrides{MemMiB: ctx.Int("mem"), CPUs: ctx.Int("cpus"), DiskGiB: ctx.Int("disk"), QEMUPort: ctx.Int("qemuport"), HostIP: ctx.String("hostip")}
	for _, flag := range []string{"mem", "cpus", "disk", "qemuport"} {
		if ctx.IsSet(flag) && ctx.Int(flag) <= 0 {
			return o, usage(fmt.Sprintf("--%s %d: it must be more than nothing", flag, ctx.Int(flag)))
		}
	}
	if d := ctx.Duration("timeout"); ctx.IsSet("timeout") && d < time.Second {
		return o, usage("--timeout must be a second at least")
	}
	for _, text := range ctx.StringSlice("mount") {
		parts := strings.SplitN(text, ",", 3)
		if len(parts) != 3 {
			return o, usage(fmt.Sprintf("--mount %s: it is TAG,SECURITY-MODEL,PATH, such as src,none,/home/me/src", text))
		}
		o.Mounts = append(o.Mounts, ccloudvm.Mount{Tag: parts[0], SecurityModel: parts[1], Path: parts[2]})
	}
	for _, text := range ctx.StringSlice("drive") {
		parts := strings.SplitN(text, ",", 3)
		if len(parts) < 2 {
			return o, usage(fmt.Sprintf("--drive %s: it is PATH,FORMAT[,OPTION,…], such as /data/disk.qcow2,qcow2", text))
		}
		o.Drives = append(o.Drives, ccloudvm.Drive{Path: parts[0], Format: parts[1], Options: strings.Join(parts[2:], ",")})
	}
	for _, text := range ctx.StringSlice("port") {
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
		return ccloudvm.Port{}, usage(fmt.Sprintf("--port %s: it is HOST-GUEST, such as 8080-80", text))
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
