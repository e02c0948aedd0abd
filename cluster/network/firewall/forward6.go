package firewall

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ciaocloud/ciao/cluster"
)

const (
	settings6   = "/proc/sys/net/ipv6/conf"
	forwarding6 = "all/forwarding"
)

// hasIPv6 is whether there is anything to do for IPv6.
func (h *Host) hasIPv6() bool {
	_, err := os.Stat(settings6)
	return h.config.Underlay6.IsValid() && err == nil
}

// forward6 makes the machine a router of IPv6; how it was is on disk before it changes. A router does not listen to others unless it is
// told so (accept_ra is 2): the links by which the machine got its own addresses and routes are, before, or it would lose them.
func (h *Host) forward6() error {
	if !h.hasIPv6() {
		return nil
	}
	if now, err := read6(forwarding6); err != nil || now == "1" {
		return err
	}
	now, err := routing6()
	if err != nil {
		return err
	}
	was, err := h.load()
	if err == nil && was.IPv6 == nil {
		was.IPv6 = now
		err = h.store(was)
	}
	if err != nil {
		return err
	}
	for name := range now {
		if filepath.Base(name) == "accept_ra" {
			if err := set6(name, "2"); err != nil {
				return err
			}
		}
	}
	return set6(forwarding6, "1")
}

// routing6 are the settings that change with forward6: of all links whether they forward, and of those that listen that they do.
func routing6() (map[string]string, error) {
	links, err := os.ReadDir(settings6)
	if err != nil {
		return nil, fmt.Errorf("list the settings of IPv6: %w: %w", cluster.ErrUnavailable, err)
	}
	found := map[string]string{}
	for _, link := range links {
		for _, setting := range []string{"forwarding", "accept_ra"} {
			name := filepath.Join(link.Name(), setting)
			value, err := read6(name)
			if errors.Is(err, fs.ErrNotExist) {
				continue // the link has gone
			}
			if err != nil {
				return nil, err
			}
			if general := link.Name() == "all" || link.Name() == "default"; setting == "forwarding" || value == "1" && !general {
				found[name] = value
			}
		}
	}
	return found, nil
}

// restore6 sets what all links have first, for it sets that of each.
func restore6(was map[string]string) error {
	order := slices.Sorted(maps.Keys(was))
	slices.SortStableFunc(order, func(a, b string) int {
		switch {
		case a == forwarding6:
			return -1
		case b == forwarding6:
			return 1
		}
		return 0
	})
	var problems []error
	for _, name := range order {
		if now, err := read6(name); err == nil && now != was[name] {
			problems = append(problems, set6(name, was[name]))
		}
	}
	return errors.Join(problems...)
}

func read6(name string) (string, error) {
	value, err := os.ReadFile(filepath.Join(settings6, name))
	if err != nil {
		return "", fmt.Errorf("read a setting of IPv6: %w: %w", cluster.ErrUnavailable, err)
	}
	return strings.TrimSpace(string(value)), nil
}

// set6 passes over a link that has gone.
func set6(name, value string) error {
	err := os.WriteFile(filepath.Join(settings6, name), []byte(value), 0)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("set IPv6's %s to %s (are you root?): %w: %w", name, value, cluster.ErrUnavailable, err)
	}
	return nil
}
