package cli

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
)

func TestAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for ago, want := range map[time.Duration]string{
			-time.Hour: "0s", 0: "0s", 119 * time.Second: "119s", 2 * time.Minute: "2m", 119 * time.Minute: "119m", 2 * time.Hour: "2h",
			47 * time.Hour: "47h", 48 * time.Hour: "2d", 1000 * time.Hour: "41d",
		} {
			if got := age(time.Now().Add(-ago)); got != want {
				t.Errorf("%v ago is %s, want %s", ago, got, want)
			}
		}
		if got := age(time.Time{}); got != "" {
			t.Errorf("never is %s", got)
		}
	})
}

func TestRefusals(t *testing.T) {
	words := []cluster.Refusal{{Node: "n1", Reason: "no room"}, {Node: "n2", Reason: "no image"}}
	if got, want := refusals(words), "node n1: no room; node n2: no image"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := refusals(nil); got != "" {
		t.Errorf("without refusals is shown %q", got)
	}
}

func TestQuoted(t *testing.T) {
	for want, words := range map[string][]string{
		"":                       nil,
		"sleep 60":               {"sleep", "60"},
		`sh -c "echo $A; ls" ""`: {"sh", "-c", "echo $A; ls", ""},
	} {
		if got := quoted(words); got != want {
			t.Errorf("%q is shown as %s, want %s", words, got, want)
		}
	}
}

func TestByName(t *testing.T) {
	want := strings.Fields("a a-1 a-2 a-10 a10b b-9 b-100")
	names := slices.Sorted(slices.Values(want))
	slices.SortStableFunc(names, byName(func(name string) string { return name }))
	if !slices.Equal(names, want) {
		t.Errorf("order %v, want %v", names, want)
	}
}

// TestCount: the line that a terminal shows during a wait.
func TestCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		instances := []api.Instance{{ID: "a", State: cluster.Pending}, {ID: "b", State: cluster.Pending}}
		c := newCount(&out, "active", instances)
		c.see(instances[0])
		c.end()
		if out.Len() != 0 {
			t.Errorf("what is no terminal got %q", out.String())
		}
		c.live = true
		c.draw()
		c.see(api.Instance{ID: "a", State: cluster.Active}) // too soon to draw again
		time.Sleep(redraw + 1)
		c.see(api.Instance{ID: "b", State: cluster.Starting})
		c.end()
		const line = "\r\x1b[K"
		want := line + "waiting for 2 instances to be active: 2 pending" + line + "waiting for 2 instances to be active: 1 starting 1 active" + line
		if out.String() != want {
			t.Errorf("shown %q, want %q", out.String(), want)
		}
	})
}

func TestLogin(t *testing.T) {
	for want, e := range map[string]*api.Endpoint{
		"":                                nil,
		"ssh -p 33002 ciao@198.51.100.60": {Host: "198.51.100.60", Port: 33002, User: "ciao"},
		"ssh -p 33002 USER@198.51.100.60": {Host: "198.51.100.60", Port: 33002},
	} {
		if got := login(e); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestPorts(t *testing.T) {
	reached := []api.PublishedPort{{Host: "198.51.100.60", Published: 16008, Port: 80, Protocol: "tcp"}, {Host: "198.51.100.17", Published: 53, Port: 5353, Protocol: "udp"}}
	if got := published(reached); got != "198.51.100.60:16008->80/tcp,198.51.100.17:53->5353/udp" {
		t.Errorf("reached: %q", got)
	}
	recipe := []api.PortSpec{{Port: 80, Protocol: "tcp", Address: "cnci"}, {Port: 8080, Protocol: "tcp", Address: "external-ip", Published: 80}}
	if got := publishes(recipe); got != "cnci:*->80/tcp,external-ip:80->8080/tcp" {
		t.Errorf("published: %q", got)
	}
	if got := published(nil) + publishes(nil); got != "" {
		t.Errorf("none: %q", got)
	}
}
