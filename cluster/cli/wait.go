package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/terminal"
)

// goals are what `ciao wait` can wait for.
var goals = map[string]client.Reached{"active": client.Active, "stopped": client.Inactive, "deleted": client.Deleted}

func (s *session) waitFor() *cobra.Command {
	return terminal.Group("wait", "Wait until instances are active, stopped or deleted", s.waitForInstance())
}

func (s *session) waitForInstance() *cobra.Command {
	wait, goal := waitFlags{wait: true}, ""
	names := slices.Sorted(maps.Keys(goals))
	command := s.each("Wait until instances are active, stopped or deleted; fail if they cannot be", func(ctx context.Context, c *client.Client, args []string, streams terminal.Streams) error {
		reached, known := goals[goal]
		if !known {
			return terminal.Usage("--for %q: it is %s", goal, strings.Join(names, ", "))
		}
		waited, problem := eachInstance(ctx, c, args, (*client.Client).Instance)
		if goal == "deleted" && errors.Is(problem, cluster.ErrNotFound) {
			problem = nil // what is not there need not be waited for
		}
		waited, err := wait.until(ctx, c, streams, goal, waited, reached)
		if err != nil {
			return also(problem, err)
		}
		if goal == "deleted" {
			return problem
		}
		return s.changed(streams, waited, problem)
	})
	command.Flags().StringVar(&goal, "for", "active", "what to wait for: "+strings.Join(names, ", "))
	command.Flags().DurationVar(&wait.timeout, "timeout", 5*time.Minute, "longest wait")
	offer(command, "for", names)
	return command
}

// waitFlags are the flags of commands that can wait for what they asked for.
type waitFlags struct {
	wait    bool
	timeout time.Duration
}

func (w *waitFlags) add(flags *pflag.FlagSet) {
	flags.BoolVar(&w.wait, "wait", false, "wait until it is done; fail if it fails")
	flags.DurationVar(&w.timeout, "timeout", 5*time.Minute, "longest wait")
}

// word is the word for what was done: only a wait has seen it done.
func (w *waitFlags) word(done, doing string) string {
	if w.wait {
		return done
	}
	return doing
}

// until waits if it was asked for, and returns the instances as they are then.
func (w *waitFlags) until(ctx context.Context, c *client.Client, streams terminal.Streams, goal string, instances []api.Instance, reached client.Reached) ([]api.Instance, error) {
	if !w.wait || len(instances) == 0 {
		return instances, nil
	}
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	line := newCount(streams.Err, goal, instances)
	defer line.end()
	return c.Wait(ctx, instances, reached, line.see)
}

// count is a line on a terminal that counts instances by state; elsewhere nothing is printed until the end.
type count struct {
	out    io.Writer
	live   bool
	goal   string
	total  int
	states map[string]cluster.State
	shown  time.Time
}

const redraw = 80 * time.Millisecond

func newCount(out io.Writer, goal string, instances []api.Instance) *count {
	c := &count{out: out, live: terminal.Interactive(out), goal: goal, total: len(instances), states: make(map[string]cluster.State, len(instances))}
	for _, instance := range instances {
		c.states[instance.ID] = instance.State
	}
	if c.live {
		c.draw()
	}
	return c
}

func (c *count) see(instance api.Instance) {
	c.states[instance.ID] = instance.State
	if c.live && time.Since(c.shown) > redraw {
		c.draw()
	}
}

func (c *count) draw() {
	c.shown = time.Now()
	numbers := make(map[cluster.State]int)
	for _, state := range c.states {
		numbers[state]++
	}
	line := fmt.Sprintf("waiting for %s to be %s:", plural(c.total, "instance"), c.goal)
	for _, state := range cluster.States() {
		if numbers[state] > 0 {
			line += fmt.Sprintf(" %d %s", numbers[state], state)
		}
	}
	fmt.Fprintf(c.out, "\r\x1b[K%s", line)
}

// end leaves the cursor at the start of an empty line.
func (c *count) end() {
	if c.live {
		fmt.Fprint(c.out, "\r\x1b[K")
	}
}
