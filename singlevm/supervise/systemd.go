package supervise

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// unitDirectory is where units live until the next boot (systemd.unit(5)).
const unitDirectory = "/run/systemd/system"

// systemd has the daemons kept by process 1, a unit each.
type systemd struct{ config Config }

func (s *systemd) prefix() string                { return "ciao-" + s.config.Cluster + "-" }
func (s *systemd) unit(daemon string) string     { return s.prefix() + daemon + ".service" }
func (s *systemd) unitFile(daemon string) string { return filepath.Join(unitDirectory, s.unit(daemon)) }

// Apply implements Supervisor.
func (s *systemd) Apply(ctx context.Context, daemons []Daemon) error {
	if err := os.MkdirAll(s.config.Directory, 0o755); err != nil {
		return fmt.Errorf("make the directory of the daemons: %w", err)
	}
	units, err := s.units()
	if err != nil {
		return err
	}
	for _, name := range units {
		if _, wanted := find(daemons, name); !wanted {
			if err := s.drop(ctx, name); err != nil {
				return err
			}
		}
	}
	var changed []string
	for _, d := range daemons {
		text := s.text(d)
		if old, err := os.ReadFile(s.unitFile(d.Name)); err == nil && string(old) == text {
			continue
		}
		if err := os.WriteFile(s.unitFile(d.Name), []byte(text), 0o644); err != nil {
			return fmt.Errorf("write the unit of %s: %w", d.Name, err)
		}
		changed = append(changed, s.unit(d.Name))
	}
	if err := writeJSON(s.config.listFile(), daemons); err != nil {
		return err
	}
	if len(changed) > 0 {
		if err := systemctl(ctx, "daemon-reload"); err != nil {
			return err
		}
		if err := systemctl(ctx, append([]string{"restart"}, changed...)...); err != nil {
			return err
		}
	}
	all := make([]string, len(daemons))
	for i, d := range daemons {
		all[i] = s.unit(d.Name)
	}
	return systemctl(ctx, append([]string{"start"}, all...)...)
}

// text is a daemon's unit. Restarts are never given up (StartLimitIntervalSec=0): a cluster in repair may kill daemons often.
func (s *systemd) text(d Daemon) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n[Unit]\nDescription=ciao %s: %s\nStartLimitIntervalSec=0\n", d.Identity, s.config.Cluster, d.Summary)
	for _, name := range d.After {
		fmt.Fprintf(&b, "After=%s\n", s.unit(name))
	}
	fmt.Fprintf(&b, "\n[Service]\nExecStart=%s\nEnvironment=%s=%s\n", quote(d.Command), Mark, s.config.Cluster)
	fmt.Fprintf(&b, "Restart=always\nRestartSec=50ms\nTimeoutStopSec=%d\nTasksMax=infinity\nLimitNOFILE=1048576\n", int(endGrace.Seconds()))
	if d.Children {
		b.WriteString("KillMode=process\n")
	}
	return b.String()
}

// quote writes a command line for systemd (systemd.service(5), command lines).
func quote(words []string) string {
	quoted := make([]string, len(words))
	for i, word := range words {
		word = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%", "$", "$$").Replace(word)
		quoted[i] = `"` + word + `"`
	}
	return strings.Join(quoted, " ")
}

// Status implements Supervisor.
func (s *systemd) Status(ctx context.Context) ([]Status, error) {
	var daemons []Daemon
	if err := readJSON(s.config.listFile(), &daemons); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	status := make([]Status, len(daemons))
	for i, d := range daemons {
		properties, err := s.properties(ctx, d.Name)
		if err != nil {
			return nil, err
		}
		status[i] = statusOf(d.Name, properties)
	}
	return status, nil
}

func (s *systemd) properties(ctx context.Context, daemon string) (map[string]string, error) {
	out, err := exec.CommandContext(ctx, "systemctl", "show", "--timestamp=unix",
		"--property=ActiveState,SubState,MainPID,NRestarts,ActiveEnterTimestamp,Result", s.unit(daemon)).Output()
	if err != nil {
		return nil, fmt.Errorf("ask systemd for %s: %w", s.unit(daemon), err)
	}
	properties := make(map[string]string)
	for line := range strings.Lines(string(out)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		properties[key] = value
	}
	return properties, nil
}

func statusOf(name string, properties map[string]string) Status {
	status := Status{Name: name, Running: properties["ActiveState"] == "active"}
	status.PID, _ = strconv.Atoi(properties["MainPID"])
	status.Restarts, _ = strconv.Atoi(properties["NRestarts"])
	if seconds, err := strconv.ParseInt(strings.TrimPrefix(properties["ActiveEnterTimestamp"], "@"), 10, 64); err == nil {
		status.Since = time.Unix(seconds, 0)
	}
	if !status.Running {
		status.Problem = strings.Join([]string{properties["ActiveState"], properties["SubState"], properties["Result"]}, ", ")
	}
	return status
}

// Remove implements Supervisor.
func (s *systemd) Remove(ctx context.Context) error {
	units, err := s.units()
	if err != nil {
		return err
	}
	problems := []error{}
	for _, name := range slices.Backward(units) {
		problems = append(problems, s.drop(ctx, name))
	}
	if len(units) > 0 {
		problems = append(problems, systemctl(ctx, "daemon-reload"))
	}
	return errors.Join(append(problems, endMarked(ctx, s.config.Cluster, endGrace))...)
}

// Logs implements Supervisor.
func (s *systemd) Logs(daemon string, lines int, follow bool) []string {
	command := []string{"journalctl", "--no-pager", "--output=cat", "--unit", s.unit(daemon), "--lines", strconv.Itoa(lines)}
	if follow {
		command = append(command, "--follow")
	}
	return command
}

// units lists the daemons that have a unit, whoever wrote it.
func (s *systemd) units() ([]string, error) {
	files, err := filepath.Glob(filepath.Join(unitDirectory, s.prefix()+"*.service"))
	if err != nil {
		return nil, fmt.Errorf("find the units: %w", err)
	}
	names := make([]string, len(files))
	for i, file := range files {
		names[i] = strings.TrimSuffix(strings.TrimPrefix(filepath.Base(file), s.prefix()), ".service")
	}
	return names, nil
}

func (s *systemd) drop(ctx context.Context, daemon string) error {
	err := systemctl(ctx, "stop", s.unit(daemon))
	_ = systemctl(ctx, "reset-failed", s.unit(daemon)) // it fails for a unit that did not
	if removal := os.Remove(s.unitFile(daemon)); removal != nil && !errors.Is(removal, fs.ErrNotExist) {
		err = errors.Join(err, removal)
	}
	return err
}

func systemctl(ctx context.Context, arguments ...string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "systemctl", arguments...).CombinedOutput(); err != nil {
		return fmt.Errorf("systemctl %s: %w: %s", strings.Join(arguments, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
