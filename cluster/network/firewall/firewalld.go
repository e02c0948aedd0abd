package firewall

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"strings"
	"time"

	"github.com/ciaocloud/ciao/cluster"
)

// firewalld drops what its zones do not allow, whatever others accept; its trusted zone allows everything. The interface is put
// there for as long as firewalld runs; a reload forgets it, and the next Apply says it again.
const zone = "trusted"

// firewalldLimit is how long firewalld may take to answer.
const firewalldLimit = 20 * time.Second

func (h *Host) joinZone(ctx context.Context) error {
	if !firewalldRuns(ctx) {
		return nil
	}
	if _, err := firewalld(ctx, "--zone="+zone, "--query-interface="+h.config.Interface); err == nil {
		return nil
	}
	was, err := h.load()
	if err != nil {
		return err
	}
	was.Zone = true
	if err := h.store(was); err != nil {
		return err
	}
	if out, err := firewalld(ctx, "--zone="+zone, "--change-interface="+h.config.Interface); err != nil {
		return fmt.Errorf("put %s into firewalld's zone %s: %w: %w: %s", h.config.Interface, zone, cluster.ErrUnavailable, err, out)
	}
	return nil
}

func (h *Host) leaveZone(ctx context.Context) error {
	was, err := h.load()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || !was.Zone || !firewalldRuns(ctx) {
		return err
	}
	if _, err := firewalld(ctx, "--zone="+zone, "--query-interface="+h.config.Interface); err != nil {
		return nil
	}
	if out, err := firewalld(ctx, "--zone="+zone, "--remove-interface="+h.config.Interface); err != nil {
		return fmt.Errorf("take %s out of firewalld's zone %s: %w: %w: %s", h.config.Interface, zone, cluster.ErrUnavailable, err, out)
	}
	return nil
}

func firewalldRuns(ctx context.Context) bool {
	_, err := firewalld(ctx, "--state")
	return err == nil
}

func firewalld(ctx context.Context, arguments ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, firewalldLimit)
	defer cancel()
	out, err := exec.CommandContext(ctx, "firewall-cmd", arguments...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}
