package simulate

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
)

// Logs writes one line for each thing that has happened to the instance, and with follow waits for its end.
func (d *Driver) Logs(ctx context.Context, id string, lines int, follow bool, w io.Writer) error {
	written := 0
	for {
		printed, status, err := d.printed(ctx, id)
		if err != nil {
			return err
		}
		if written == 0 && lines >= 0 {
			written = max(0, len(printed)-lines)
		}
		for _, line := range printed[min(written, len(printed)):] {
			if _, err := fmt.Fprintln(w, line); err != nil {
				return err
			}
		}
		written = len(printed)
		if !follow || status.Condition != driver.Running {
			return nil
		}
		if err := pause(ctx, lookAgain); err != nil {
			return unanswered("logs of instance "+id, err)
		}
	}
}

// lookAgain is how often a follower looks for news.
const lookAgain = 50 * time.Millisecond

// printed is what the instance would have printed.
func (d *Driver) printed(ctx context.Context, id string) ([]string, driver.Status, error) {
	status, err := d.Status(ctx, id)
	if err != nil {
		return nil, status, err
	}
	if status.Condition == driver.Absent {
		return nil, status, fmt.Errorf("logs of instance %s: it has no carrier here: %w", id, cluster.ErrNotFound)
	}
	var lines []string
	if !status.Started.IsZero() {
		lines = append(lines, "started")
	}
	if status.Condition == driver.Ended {
		lines = append(lines, status.Reason)
	}
	return lines, status, nil
}

// Exec knows four commands: "exit N"; "cat" copies its input; "warn WORDS" prints to the error output; "size" prints that of the
// terminal whenever it changes, and ends with its input. Any other is printed.
func (d *Driver) Exec(ctx context.Context, id string, e driver.Execution) (int, error) {
	status, err := d.Status(ctx, id)
	if err != nil {
		return 0, err
	}
	if status.Condition != driver.Running {
		return 0, fmt.Errorf("execute a command in instance %s: it does not run; start it first: %w", id, cluster.ErrConflict)
	}
	words := strings.Join(e.Command[1:], " ")
	switch e.Command[0] {
	case "exit":
		return strconv.Atoi(words)
	case "cat":
		if e.Stdin != nil {
			_, err = io.Copy(e.Stdout, e.Stdin)
		}
	case "warn":
		_, err = fmt.Fprintln(e.Stderr, words)
	case "size":
		err = printSizes(ctx, e)
	default:
		_, err = fmt.Fprintln(e.Stdout, strings.Join(e.Command, " "))
	}
	return 0, err
}

// Console echoes what is typed, until the instance ends.
func (d *Driver) Console(ctx context.Context, id string, seat driver.Seat) error {
	status, err := d.Status(ctx, id)
	switch {
	case err != nil:
		return err
	case status.Condition == driver.Absent:
		return fmt.Errorf("console of instance %s: it has no carrier here: %w", id, cluster.ErrNotFound)
	case status.Condition != driver.Running:
		return fmt.Errorf("console of instance %s: it does not run; start it first: %w", id, cluster.ErrConflict)
	}
	ctx, leave, err := d.seats.Take(ctx, id, seat.Takeover)
	if err != nil {
		return err
	}
	defer leave()
	ctx, over := context.WithCancelCause(ctx)
	defer over(nil)
	go func() { // nobody can wait for a reader of what is typed
		if _, err := io.Copy(seat.Output, seat.Input); err != nil {
			over(err)
		}
	}()
	for status.Condition == driver.Running {
		if pause(ctx, lookAgain) != nil {
			return context.Cause(ctx)
		}
		if status, err = d.Status(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

func printSizes(ctx context.Context, e driver.Execution) error {
	input := make(chan error, 1)
	go func() {
		var err error
		if e.Stdin != nil {
			_, err = io.Copy(io.Discard, e.Stdin)
		}
		input <- err
	}()
	for size := e.Size; ; {
		if _, err := fmt.Fprintf(e.Stdout, "%dx%d\n", size.Width, size.Height); err != nil {
			return err
		}
		select {
		case size = <-e.Resize:
		case err := <-input:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
