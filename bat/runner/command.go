package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ciaocloud/ciao/bat"
	"github.com/ciaocloud/ciao/terminal"
)

// sweepTime bounds the last look for what the tests left behind.
const sweepTime = 2 * time.Minute

// defaultParallel is how many tests run at a time: most of them wait for the cluster most of the time, and a small machine carries so many.
const defaultParallel = 4

// errFailed is a run in which not everything passed; it was reported already.
var errFailed = errors.New("not everything passed")

// Main runs the command line and returns the exit code.
func Main(ctx context.Context, version string, suites []bat.Suite, args []string, streams terminal.Streams) int {
	c := &command{suites: suites, streams: streams}
	root := &cobra.Command{
		Use: "bat", Short: "Judge a live cluster by the basic acceptance tests", Version: version, Args: terminal.Arguments(),
		Long: `Judge a live cluster by the basic acceptance tests.

The cluster and the callers come from ciao's environment variables (CIAO_CONTROLLER, CIAO_CA_CERT_FILE, CIAO_ADMIN_CLIENT_CERT_FILE,
CIAO_CLIENT_CERT_FILE, CIAO_TENANT_ID); without them the cluster that singlevm made on this machine is judged. Everything is made in
tenants named bat-…, which go with the tests; nobody's instances are touched.

Exit code: 0 all passed; 1 a test failed; 2 wrong use, or no cluster to judge.`,
		Example: `  bat                                  # everything
  bat --suite smoke                    # a short look
  bat --run 'network/.*Isolat'         # some
  bat --list                           # the test plan
  bat --junit results.xml              # for a CI server, too; --tap and --html are others`,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.run(cmd.Context()) },
	}
	c.flags(root.Flags())
	root.SetContext(ctx)
	return terminal.Run(root, longFlags(root.Flags(), args), streams, func(err error) int {
		if errors.Is(err, errFailed) {
			return 1
		}
		return terminal.ExitUsage
	})
}

type command struct {
	suites  []bat.Suite
	streams terminal.Streams

	choice    choice
	options   options
	list      bool
	sweep     bool
	verbose   bool
	format    string
	files     map[string]*string // by form of the result
	directory string
	scale     float64
	image     string
	outside   string
}

func (c *command) flags(flags *pflag.FlagSet) {
	flags.StringVar(&c.choice.pattern, "run", "", "only tests whose SUITE/NAME matches this regular expression")
	flags.StringSliceVar(&c.choice.suites, "suite", nil, "only these suites")
	flags.BoolVar(&c.list, "list", false, "show the test plan of the chosen tests and run none")
	flags.StringVarP(&c.format, "output", "o", "text", "form of the result: "+strings.Join(formats(), ", "))
	c.files = make(map[string]*string)
	for form, report := range reports {
		c.files[form] = flags.String(form, "", "write the result as "+report.name+" to this `file`, too")
	}
	flags.DurationVar(&c.options.limit, "timeout", bat.DefaultTimeout, "longest that a test may take (a few take more by their nature)")
	flags.IntVar(&c.options.parallel, "parallel", defaultParallel, "how many tests run at a time; some run alone in any case")
	flags.Float64Var(&c.scale, "time-scale", 0, "multiply every time limit, for slow machines (the cluster's own where it can be read, else 1)")
	flags.BoolVar(&c.verbose, "verbose", false, "show the logs of tests that passed, too")
	flags.BoolVar(&c.options.failFast, "fail-fast", false, "stop at the first failure")
	flags.StringVar(&c.image, "image", "", "image with busybox's commands for the tests' containers (that of the public workload busybox)")
	flags.StringVar(&c.outside, "outside", "", "HOST:PORT beyond the cluster that answers TCP connections and that instances must reach")
	flags.StringVar(&c.directory, "singlevm", bat.SinglevmDirectory, "directory of the cluster that singlevm made")
	flags.BoolVar(&c.sweep, "sweep", false, "only remove what killed runs left behind: all tenants and public workloads named bat-…")
}

// longFlags lets -run and -list be written with one hyphen, as with go test.
func longFlags(flags *pflag.FlagSet, args []string) []string {
	long := make([]string, len(args))
	for i, arg := range args {
		long[i] = arg
		name, _, _ := strings.Cut(strings.TrimPrefix(arg, "-"), "=")
		if strings.HasPrefix(arg, "-") && !strings.HasPrefix(arg, "--") && len(name) > 1 && flags.Lookup(name) != nil {
			long[i] = "-" + arg
		}
	}
	return long
}

func (c *command) run(ctx context.Context) error {
	chosen, err := c.choice.from(c.suites)
	if err != nil {
		return err
	}
	if !slices.Contains(formats(), c.format) {
		return terminal.Usage("%q is not a form of output; use %s", c.format, strings.Join(formats(), ", "))
	}
	if c.options.parallel < 1 {
		return terminal.Usage("--parallel is how many tests run at a time: at least 1")
	}
	if c.list {
		writePlan(c.streams.Out, c.suites, chosen)
		return nil
	}
	cluster, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer cluster.Close()
	if c.sweep {
		return c.sweepAll(ctx, cluster)
	}
	return c.judge(ctx, cluster, chosen)
}

func (c *command) connect(ctx context.Context) (*bat.Cluster, error) {
	access, err := bat.FindAccess(os.Getenv, c.directory)
	if err != nil {
		return nil, err
	}
	if c.scale > 0 {
		access.TimeScale = c.scale
	}
	c.options.scale = access.TimeScale
	return bat.Connect(ctx, bat.Config{
		Access: access, Ciao: beside("ciao"), Singlevm: beside("singlevm"), Image: c.image, Outside: c.outside,
	})
}

// beside finds a program next to this one, else on PATH; empty is none.
func beside(name string) string {
	if self, err := os.Executable(); err == nil {
		if path := filepath.Join(filepath.Dir(self), name); isProgram(path) {
			return path
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return ""
	}
	return path
}

func isProgram(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

func (c *command) sweepAll(ctx context.Context, cluster *bat.Cluster) error {
	ctx, cancel := context.WithTimeout(ctx, cluster.Scale(sweepTime))
	defer cancel()
	n, err := cluster.Sweep(ctx, bat.Prefix)
	fmt.Fprintf(c.streams.Err, "%d tenants removed\n", n)
	return err
}

// judge runs the tests, reports, and looks whether anything was left behind.
func (c *command) judge(ctx context.Context, cluster *bat.Cluster, chosen []entry) error {
	var report reporter = newText(c.streams.Out, c.verbose)
	if c.format != "text" {
		report = silent{}
	}
	outcomes := run(ctx, cluster, chosen, c.options, report)
	leftovers := c.finalSweep(ctx, cluster)
	if err := c.write(outcomes); err != nil {
		return err
	}
	switch failed := count(outcomes, bat.Failed); {
	case ctx.Err() != nil:
		return fmt.Errorf("%w: interrupted after %d of %d tests", errFailed, len(outcomes), len(chosen))
	case failed > 0 && len(outcomes) < len(chosen):
		return fmt.Errorf("%w: stopped at the first failure, after %d of %d tests", errFailed, len(outcomes), len(chosen))
	case failed > 0:
		return fmt.Errorf("%w: %d of %d tests failed", errFailed, failed, len(chosen))
	}
	return leftovers
}

// finalSweep removes what the tests' own cleanups could not, which is a failure of the cluster or of a test.
func (c *command) finalSweep(ctx context.Context, cluster *bat.Cluster) error {
	if cluster == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cluster.Scale(sweepTime))
	defer cancel()
	switch n, err := cluster.Sweep(ctx, cluster.Run); {
	case err != nil:
		return fmt.Errorf("%w: something was left behind and cannot be removed (%w); `bat --sweep` tries again", errFailed, err)
	case n > 0:
		return fmt.Errorf("%w: %d tenants were left behind by the tests and removed now", errFailed, n)
	}
	return nil
}

// reports are the forms of a result for machines and for reading later.
var reports = map[string]struct {
	name  string
	write func(io.Writer, []bat.Outcome) error
}{
	"junit": {"JUnit XML", writeJUnit},
	"tap":   {"TAP", writeTAP},
	"html":  {"a page", writeHTML},
}

func formats() []string { return append([]string{"text"}, slices.Sorted(maps.Keys(reports))...) }

func (c *command) write(outcomes []bat.Outcome) error {
	if report, ok := reports[c.format]; !ok {
		fmt.Fprintln(c.streams.Out, summary(outcomes))
	} else if err := report.write(c.streams.Out, outcomes); err != nil {
		return err
	}
	var problems []error
	for form, file := range c.files {
		if *file != "" {
			problems = append(problems, writeFile(*file, func(w io.Writer) error { return reports[form].write(w, outcomes) }))
		}
	}
	return errors.Join(problems...)
}

func writeFile(name string, write func(io.Writer) error) error {
	file, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return errors.Join(write(file), file.Close())
}
