package firewall

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"

	"github.com/coreos/go-iptables/iptables"

	"github.com/ciaocloud/ciao/cluster"
)

// The chains that decide on what is forwarded: the one that Docker leaves to its users, which it neither flushes nor reorders, and
// the built-in one.
const (
	dockerUser = "DOCKER-USER"
	forward    = "FORWARD"
	filter     = "filter"
)

// iptablesWait is how many seconds to wait for others who change the tables.
const iptablesWait = 10

// openIPTables opens the tables of each family. A machine without iptables has nothing in the way of iptables either.
func (h *Host) openIPTables() ([]*iptables.IPTables, error) {
	programs := map[string]iptables.Protocol{"iptables": iptables.ProtocolIPv4}
	if h.hasIPv6() {
		programs["ip6tables"] = iptables.ProtocolIPv6
	}
	var all []*iptables.IPTables
	for program, family := range programs {
		if _, err := exec.LookPath(program); err != nil {
			continue
		}
		tables, err := iptables.New(iptables.IPFamily(family), iptables.Timeout(iptablesWait))
		if err != nil {
			return nil, fmt.Errorf("find %s: %w: %w", program, cluster.ErrUnavailable, err)
		}
		all = append(all, tables)
	}
	return all, nil
}

// accept puts our rules first into the chain that decides. A chain that lets everything through is left alone: nothing needs to be
// said there, and nothing to be taken back.
func (h *Host) accept() error {
	families, err := h.openIPTables()
	if err != nil {
		return err
	}
	for _, tables := range families {
		chain, needed, err := h.decider(tables)
		if err != nil {
			return err
		}
		for _, name := range []string{dockerUser, forward} {
			if err := h.setRules(tables, name, name == chain && needed); err != nil {
				return err
			}
		}
	}
	return nil
}

// decider finds the chain for our rules, and whether they are needed.
func (h *Host) decider(tables *iptables.IPTables) (chain string, needed bool, err error) {
	docker, err := tables.ChainExists(filter, dockerUser)
	if err != nil {
		return "", false, fmt.Errorf("look for %s: %w: %w", dockerUser, cluster.ErrUnavailable, err)
	}
	if docker {
		return dockerUser, true, nil
	}
	lines, err := tables.List(filter, forward)
	if err != nil {
		return "", false, fmt.Errorf("list %s: %w: %w", forward, cluster.ErrUnavailable, err)
	}
	strangers := slices.ContainsFunc(lines, func(line string) bool { return strings.HasPrefix(line, "-A") && !h.isOurs(line) })
	return forward, strangers || !slices.Contains(lines, "-P FORWARD ACCEPT"), nil
}

// rules accept what comes from the underlay, and what belongs to it on its way back.
func (h *Host) rules() [][]string {
	mark := []string{"-m", "comment", "--comment", h.mark(), "-j", "ACCEPT"}
	return [][]string{
		append([]string{"-i", h.config.Interface}, mark...),
		append([]string{"-o", h.config.Interface, "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED"}, mark...),
	}
}

func (h *Host) mark() string { return "ciao/" + h.config.Cluster }

func (h *Host) isOurs(line string) bool {
	return slices.Contains(strings.Fields(line), h.mark()) || strings.Contains(line, `"`+h.mark()+`"`)
}

// setRules makes our rules the first of a chain, in order, or takes them out of it. Ours in another place or of another time go.
func (h *Host) setRules(tables *iptables.IPTables, chain string, wanted bool) error {
	exists, err := tables.ChainExists(filter, chain)
	if err != nil || !exists {
		return err
	}
	lines, err := tables.List(filter, chain)
	if err != nil {
		return fmt.Errorf("list %s: %w: %w", chain, cluster.ErrUnavailable, err)
	}
	lines = slices.DeleteFunc(lines, func(line string) bool { return !strings.HasPrefix(line, "-A") })
	if wanted && h.first(lines) {
		return nil
	}
	if wanted {
		for i, rule := range h.rules() {
			if err := tables.Insert(filter, chain, i+1, rule...); err != nil {
				return fmt.Errorf("accept the underlay in %s: %w: %w", chain, cluster.ErrUnavailable, err)
			}
		}
	}
	return h.deleteOld(tables, chain, lines, wanted)
}

// first reports whether the chain starts with our rules and has no others of ours.
func (h *Host) first(lines []string) bool {
	rules := h.rules()
	for i, line := range lines {
		if h.isOurs(line) != (i < len(rules)) || (i < len(rules) && !strings.HasPrefix(line, "-A "+chainOf(line)+" "+strings.Join(rules[i][:2], " "))) {
			return false
		}
	}
	return len(lines) >= len(rules)
}

func chainOf(line string) string { return strings.Fields(line)[1] }

// deleteOld deletes, from the last to the first, the rules of ours that lines has, which were pushed down by those inserted since.
func (h *Host) deleteOld(tables *iptables.IPTables, chain string, lines []string, inserted bool) error {
	shift := 1
	if inserted {
		shift += len(h.rules())
	}
	for i, line := range slices.Backward(lines) {
		if !h.isOurs(line) {
			continue
		}
		if err := tables.DeleteById(filter, chain, i+shift); err != nil {
			return fmt.Errorf("take our rule out of %s: %w: %w", chain, cluster.ErrUnavailable, err)
		}
	}
	return nil
}

func (h *Host) dropRules() error {
	families, err := h.openIPTables()
	if err != nil {
		return err
	}
	for _, tables := range families {
		for _, chain := range []string{dockerUser, forward} {
			if err := h.setRules(tables, chain, false); err != nil {
				return err
			}
		}
	}
	return nil
}
