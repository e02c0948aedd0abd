package machinetest

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/vishvananda/netlink"
)

// links of the machine itself, and those of every named namespace. Indices are left out: they count up by nature. Alias, master
// and state of each are told.
func links(context.Context) ([]string, error) {
	all, err := netlink.LinkList()
	if err != nil {
		return nil, err
	}
	names := make(map[int]string)
	for _, link := range all {
		names[link.Attrs().Index] = link.Attrs().Name
	}
	told := make([]string, len(all))
	for i, link := range all {
		a := link.Attrs()
		told[i] = fmt.Sprintf("%s %s alias %q master %q mtu %d flags %s promiscuous %d", a.Name, link.Type(), a.Alias, names[a.MasterIndex], a.MTU, a.Flags, a.Promisc)
	}
	return told, nil
}

func addresses(context.Context) ([]string, error) {
	all, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, err
	}
	var told []string
	for _, address := range all {
		link, err := netlink.LinkByIndex(address.LinkIndex)
		if err != nil {
			return nil, err
		}
		told = append(told, link.Attrs().Name+" "+address.IPNet.String())
	}
	return told, nil
}

// routes6 are the routes of IPv6 without those of links' own addresses, which the kernel makes some time after a link came up and
// which addresses tells too.
func routes6(ctx context.Context) ([]string, error) {
	all, err := command("ip", "-6", "route", "show", "table", "all")(ctx)
	return without(all, "fe80::", "ff00::", "anycast"), err
}

var counters = regexp.MustCompile(`counter packets \d+ bytes \d+|\[\d+:\d+\]|# handle \d+`)

// nftables is the whole ruleset, each rule with its table, its chain and its place there: chains are told in the order in which they
// were made, which means nothing. Counters count by themselves. Chains without rules that accept all are left out: the first
// `iptables-save` of anybody makes them.
// dockerJump is a rule of the engine's own, of which there may be several: engines put it first again whenever they start and make a
// network, and two at a time leave one too many.
const dockerJump = "counter jump DOCKER-USER"

func nftables(ctx context.Context) ([]string, error) {
	all, err := command("nft", "list", "ruleset")(ctx)
	var told, path []string
	place := 0
	for _, line := range all {
		line = counters.ReplaceAllString(strings.TrimSpace(line), "counter")
		switch {
		case strings.HasPrefix(line, "#"), strings.HasPrefix(line, "type ") && strings.HasSuffix(line, "policy accept;"), line == dockerJump:
		case strings.HasSuffix(line, "{") && !strings.Contains(line, "="):
			path, place = append(path, strings.TrimSuffix(line, " {")), 0
		case line == "}" && len(path) > 0:
			path = path[:len(path)-1]
		default:
			place++
			told = append(told, fmt.Sprintf("%s %02d %s", strings.Join(path, " "), place, line))
		}
	}
	return told, err
}

// xtables are the rules that iptables knows, without comments, which have the time, and counters. Chains without rules whose policy
// is to accept are always there or not: both mean the same.
func xtables(program string) func(context.Context) ([]string, error) {
	return func(ctx context.Context) ([]string, error) {
		all, err := command(program)(ctx)
		var kept []string
		table := ""
		for _, line := range all {
			switch {
			case strings.HasPrefix(line, "*"):
				table = line
			case strings.HasPrefix(line, "#"), line == "COMMIT", line == "-A FORWARD -j DOCKER-USER",
				strings.HasPrefix(line, ":") && strings.Contains(line, " ACCEPT "):
			default:
				kept = append(kept, table+" "+counters.ReplaceAllString(line, ""))
			}
		}
		return kept, err
	}
}

// sysctls are all settings of the network that are not counts or caches. A setting of a link that is gone is gone with it.
func sysctls(context.Context) ([]string, error) {
	var told []string
	err := filepath.WalkDir("/proc/sys/net", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || passing[entry.Name()] {
			return nil // the directory of a link that goes just now
		}
		if value, err := os.ReadFile(path); err == nil { // some can only be written
			told = append(told, strings.TrimPrefix(path, "/proc/sys/")+" = "+strings.Join(strings.Fields(string(value)), " "))
		}
		return nil
	})
	return told, err
}

// passing are settings that change by themselves.
var passing = map[string]bool{
	"nf_conntrack_count": true, "nf_conntrack_buckets": true, "stable_secret": true, "tcp_available_congestion_control": true,
	"tcp_fastopen_key": true, "flush": true, "dev_weight": true,
}
