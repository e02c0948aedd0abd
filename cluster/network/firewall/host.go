package firewall

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/network"
	"github.com/ciaocloud/ciao/cluster/network/netns"
)

// HostConfig is what the routed way out of a machine is made from.
type HostConfig struct {
	Cluster   string
	Interface string       // the host's own link on the underlay, by which the underlay's packets come to be routed
	Underlay  netip.Prefix // packets from here are translated to the address of whatever link they leave by
	Underlay6 netip.Prefix // the same for IPv6; invalid, or a kernel without IPv6, leaves the machine's IPv6 alone
	State     string       // file that remembers what the machine was like before; its directory exists
	Namespace string       // path of the host's network namespace; empty is the process's own
	Log       *slog.Logger // nil logs nothing
}

// Host keeps the routed way out of the machine open: packets are forwarded, translated, and accepted by whatever firewall is
// there. Its methods may be repeated and are called one at a time. Apply belongs after every start of the Docker Engine or
// reload of a firewall, which forget or reorder other people's rules.
type Host struct{ config HostConfig }

// NewHost does not touch the machine yet.
func NewHost(config HostConfig) *Host {
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	return &Host{config}
}

// forwarding is the setting that makes a machine a router.
const forwarding = "/proc/sys/net/ipv4/ip_forward"

// before is what the machine was like.
type before struct {
	Forwarding string `json:"ip_forward"`
	Zone       bool   `json:"firewalld_zone"` // we put the interface into firewalld's zone
	// IPv6 are settings below /proc/sys/net/ipv6/conf that change when the machine becomes a router; nil if it was one.
	IPv6 map[string]string `json:"ipv6,omitempty"`
}

// Apply opens the way out, or puts right what is not as it was left.
func (h *Host) Apply(ctx context.Context) error {
	err := h.forward()
	if err == nil {
		err = h.inside(h.forward6)
	}
	if err == nil {
		err = h.translate(h.tables()...)
	}
	if err == nil {
		err = h.inside(h.accept)
	}
	if err == nil {
		err = h.inside(func() error { return h.joinZone(ctx) })
	}
	if err != nil {
		return fmt.Errorf("open the way out of the underlay %s: %w", h.config.Underlay, err)
	}
	return nil
}

// Remove takes everything back and leaves the machine as it was before the first Apply.
func (h *Host) Remove(ctx context.Context) error {
	err := errors.Join(
		h.inside(func() error { return h.leaveZone(ctx) }),
		h.inside(h.dropRules),
		h.translate(),
	)
	if err == nil {
		err = h.restore()
	}
	if err != nil {
		return fmt.Errorf("close the way out of the underlay %s: %w", h.config.Underlay, err)
	}
	return nil
}

func (h *Host) inside(f func() error) error {
	namespace, err := netns.Open(h.config.Namespace)
	if err != nil {
		return err
	}
	defer namespace.Close()
	return netns.Inside(namespace, f)
}

// forward switches forwarding on; how it was is on disk before it changes.
func (h *Host) forward() error {
	return h.inside(func() error {
		now, err := os.ReadFile(forwarding)
		if err != nil {
			return fmt.Errorf("read %s: %w: %w", forwarding, cluster.ErrUnavailable, err)
		}
		if _, err := h.load(); errors.Is(err, fs.ErrNotExist) {
			if err := h.store(before{Forwarding: strings.TrimSpace(string(now))}); err != nil {
				return err
			}
		} else if err != nil {
			return err
		}
		if strings.TrimSpace(string(now)) == "1" {
			return nil
		}
		return setForwarding("1")
	})
}

func setForwarding(value string) error {
	if err := os.WriteFile(forwarding, []byte(value), 0); err != nil {
		return fmt.Errorf("set %s to %s (are you root?): %w: %w", forwarding, value, cluster.ErrUnavailable, err)
	}
	return nil
}

func (h *Host) restore() error {
	was, err := h.load()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := h.inside(func() error { return errors.Join(setForwarding(was.Forwarding), restore6(was.IPv6)) }); err != nil {
		return err
	}
	return os.Remove(h.config.State)
}

func (h *Host) load() (was before, err error) {
	data, err := os.ReadFile(h.config.State)
	if err != nil {
		return was, err
	}
	if err := json.Unmarshal(data, &was); err != nil || (was.Forwarding != "0" && was.Forwarding != "1") {
		return was, fmt.Errorf("%s is damaged (remove it; the machine's ip_forward may have been 0 before): %w", h.config.State, cluster.ErrConflict)
	}
	return was, nil
}

func (h *Host) store(was before) error {
	data, err := json.Marshal(was)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(h.config.State), 0o755)
	}
	if err == nil {
		err = os.WriteFile(h.config.State+".new", data, 0o600)
	}
	if err == nil {
		err = os.Rename(h.config.State+".new", h.config.State)
	}
	if err != nil {
		return fmt.Errorf("remember the machine's settings: %w: %w", cluster.ErrUnavailable, err)
	}
	return nil
}

// tableName is that of our table on the host, which is not ours alone.
func (h *Host) tableName() string { return "ciao_" + h.config.Cluster }

// tables translate what leaves the underlay by another link.
func (h *Host) tables() []network.Table {
	all := []network.Table{h.table("ip", h.config.Underlay)}
	if h.hasIPv6() {
		all = append(all, h.table("ip6", h.config.Underlay6))
	}
	return all
}

func (h *Host) table(family string, underlay netip.Prefix) network.Table {
	rule := fmt.Sprintf(`%s saddr %s oifname != "%s" masquerade`, family, underlay.Masked(), h.config.Interface)
	return network.Table{ID: network.TableID{Family: family, Name: h.tableName()}, Chains: []network.Chain{{
		Name: "postrouting", Type: "nat", Hook: "postrouting", Priority: 100, Policy: "accept",
		Rules: []network.Rule{{Name: "masquerade", Text: rule}},
	}}}
}

// translate makes our tables what is wanted, and removes others.
func (h *Host) translate(wanted ...network.Table) error {
	namespace, err := netns.Open(h.config.Namespace)
	if err != nil {
		return err
	}
	defer namespace.Close()
	tables, err := OpenTables(int(namespace.Fd()))
	if err != nil {
		return err
	}
	defer tables.Close()
	have, want := network.NewImage(), network.NewImage()
	if have.Tables, err = tables.Read(h.tableName()); err != nil {
		return err
	}
	for _, table := range wanted {
		want.Tables[table.ID] = table
	}
	for _, step := range network.Plan(have, want) {
		if change, ok := step.(network.Filter); ok {
			if err := tables.Change(change.Changes); err != nil {
				return err
			}
		}
	}
	return nil
}
