package cgroup

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ciaocloud/ciao/cluster"
)

// Kill kills the processes of a group, and returns when there are none any more. A group that is not there is empty.
func Kill(ctx context.Context, root, name string) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		left, err := Processes(root, name)
		if err != nil || len(left) == 0 {
			return err
		}
		for pid := range left {
			syscall.Kill(pid, syscall.SIGKILL) // one that has ended meanwhile is as good
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: the processes of control group %s do not end: %w", cluster.ErrUnavailable, name, context.Cause(ctx))
		}
	}
}

// Remove kills the processes of a group and removes it from every hierarchy.
func Remove(ctx context.Context, root, name string) error {
	if err := Kill(ctx, root, name); err != nil {
		return err
	}
	for _, directory := range directories(root, name) {
		if err := os.Remove(directory); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w: remove the control group: %w", cluster.ErrUnavailable, err)
		}
	}
	return nil
}

// List names the groups at the root of the hierarchies that begin with the prefix.
func List(root, prefix string) []string {
	var names []string
	seen := map[string]bool{}
	for _, directory := range directories(root, prefix+"*") {
		if name := filepath.Base(directory); !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	return names
}

// directories are where a group is: in the one hierarchy of version 2, and in those of version 1.
func directories(root, pattern string) []string {
	unified, _ := filepath.Glob(filepath.Join(root, pattern)) // the patterns are well formed
	others, _ := filepath.Glob(filepath.Join(root, "*", pattern))
	return append(unified, others...)
}

// Processes are the ids of a group's processes, of those that can be seen from here.
func Processes(root, name string) (map[int]bool, error) {
	pids := map[int]bool{}
	for _, directory := range directories(root, name) {
		file, err := os.Open(filepath.Join(directory, "cgroup.procs"))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%w: look into the control group: %w", cluster.ErrUnavailable, err)
		}
		for lines := bufio.NewScanner(file); lines.Scan(); {
			if pid, err := strconv.Atoi(strings.TrimSpace(lines.Text())); err == nil && pid > 1 {
				pids[pid] = true
			}
		}
		file.Close()
	}
	return pids, nil
}
