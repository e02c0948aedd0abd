package cli

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
)

func join[T any](items []T) string {
	texts := make([]string, len(items))
	for i, item := range items {
		texts[i] = fmt.Sprint(item)
	}
	return strings.Join(texts, ",")
}

func pairs(m map[string]string) string {
	texts := make([]string, 0, len(m))
	for _, key := range slices.Sorted(maps.Keys(m)) {
		texts = append(texts, key+"="+m[key])
	}
	return strings.Join(texts, ",")
}

func quoted(words []string) string {
	texts := make([]string, len(words))
	for i, word := range words {
		texts[i] = word
		if word == "" || strings.ContainsAny(word, " \t\n'\"\\$;&|<>*?(){}[]`") {
			texts[i] = strconv.Quote(word)
		}
	}
	return strings.Join(texts, " ")
}

// login is the command line that logs in there.
func login(e *api.Endpoint) string {
	if e == nil {
		return ""
	}
	return fmt.Sprintf("ssh -p %d %s@%s", e.Port, cmp.Or(e.User, "USER"), e.Host)
}

// published is where each port is reached, and what it leads to.
func published(ports []api.PublishedPort) string {
	texts := make([]string, len(ports))
	for i, p := range ports {
		texts[i] = fmt.Sprintf("%s->%d/%s", net.JoinHostPort(p.Host, strconv.Itoa(p.Published)), p.Port, p.Protocol)
	}
	return strings.Join(texts, ",")
}

// refusals are the words of nodes, the last one last.
func refusals(words []cluster.Refusal) string {
	texts := make([]string, len(words))
	for i, r := range words {
		texts[i] = "node " + r.Node + ": " + r.Reason
	}
	return strings.Join(texts, "; ")
}

// publishes is what a workload publishes; a number that is chosen for each instance is *.
func publishes(ports []api.PortSpec) string {
	texts := make([]string, len(ports))
	for i, p := range ports {
		number := "*"
		if p.Published != 0 {
			number = strconv.Itoa(p.Published)
		}
		texts[i] = fmt.Sprintf("%s:%s->%d/%s", p.Address, number, p.Port, p.Protocol)
	}
	return strings.Join(texts, ",")
}

func number(n *int) string {
	if n == nil {
		return ""
	}
	return strconv.Itoa(*n)
}

func decimal(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

func load(f float64) string {
	if f < 0 {
		return ""
	}
	return strconv.FormatFloat(f, 'f', 2, 64)
}

// amount is ? when it is unknown.
func amount(n int64) string {
	if n < 0 {
		return "?"
	}
	return strconv.FormatInt(n, 10)
}

// quotaUsed is empty where there is no sum of which something could be used.
func quotaUsed(q api.QuotaItem) string {
	if q.Each {
		return ""
	}
	return decimal(q.Used)
}

func mib(n int64) string { return strconv.FormatInt(n, 10) + " MiB" }

func clock(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

// age is how long ago something was, in one unit.
func age(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	switch ago := max(time.Since(t), 0); {
	case ago < 2*time.Minute:
		return strconv.Itoa(int(ago.Seconds())) + "s"
	case ago < 2*time.Hour:
		return strconv.Itoa(int(ago.Minutes())) + "m"
	case ago < 48*time.Hour:
		return strconv.Itoa(int(ago.Hours())) + "h"
	default:
		return strconv.Itoa(int(ago.Hours()/24)) + "d"
	}
}

func plural(n int, noun string) string {
	if n == 1 {
		return fmt.Sprintf("%d %s", n, noun)
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// size writes bytes for people; none is empty.
func size(bytes int64) string {
	if bytes == 0 {
		return ""
	}
	return humanize.IBytes(uint64(max(bytes, 0)))
}
