package launcher

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
)

func newRecipe(generation uint64) *payload.Start { return &payload.Start{Generation: generation} }

func TestParseMemory(t *testing.T) {
	tests := map[string]struct {
		text  string
		want  cluster.Amount
		wrong bool
	}{
		"usual":     {"MemTotal:       24672136 kB\nMemFree: 1 kB\nMemAvailable:   23068672 kB\n", cluster.Amount{TotalMiB: 24093, AvailableMiB: 22528}, false},
		"old":       {"MemTotal: 2048 kB\n", cluster.Amount{TotalMiB: 2, AvailableMiB: -1}, false},
		"empty":     {"", cluster.Amount{}, true},
		"malformed": {"MemTotal: much kB\n", cluster.Amount{}, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := parseMemory(strings.NewReader(test.text))
			if (err != nil) != test.wrong || err == nil && got != test.want {
				t.Errorf("got %+v, %v; want %+v", got, err, test.want)
			}
		})
	}
}

func TestParseLoad(t *testing.T) {
	for text, want := range map[string]float64{"0.52 0.58 0.59 1/467 12345\n": 0.52, "": -1, "x 1 2": -1} {
		if got := parseLoad(text); got != want {
			t.Errorf("parseLoad(%q) is %v, want %v", text, got, want)
		}
	}
}

func TestBounded(t *testing.T) {
	for _, text := range []string{"", "short", strings.Repeat("ä", 400), strings.Repeat("x", 511) + "€", "\xff\xfe"} {
		got := bounded(text)
		if len(got) > 512 || !utf8.ValidString(got) || len(text) < 100 && utf8.ValidString(text) && got != text {
			t.Errorf("bounded(%q) is %q", text, got)
		}
	}
}

func TestGravesAreBounded(t *testing.T) {
	g := newGraves()
	for range maxGraves + 10 {
		g.dig(strings.Repeat("i", len(g.order)+1), 1)
	}
	if len(g.generation) > maxGraves || len(g.order) > maxGraves {
		t.Errorf("%d graves", len(g.generation))
	}
	g.dig("a", 5)
	g.dig("a", 4)
	if !g.covers("a", 5) || g.covers("a", 6) || g.covers("b", 1) {
		t.Error("a grave covers what it must not, or not what it must")
	}
}
