package ipam

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ciaocloud/ciao/cluster"
)

type ranges = []cluster.AddressRange

func TestAllocate(t *testing.T) {
	tests := []struct {
		name         string
		prefix       string
		used         ranges
		n            int
		taken, after ranges
	}{
		{"first of an empty subnet", "172.16.0.0/24", nil, 1, ranges{{First: 2, Last: 2}}, ranges{{First: 2, Last: 2}}},
		{"all of a small subnet", "172.16.0.0/29", nil, 9, ranges{{First: 2, Last: 6}}, ranges{{First: 2, Last: 6}}},
		{"none left", "172.16.0.0/29", ranges{{First: 2, Last: 6}}, 1, nil, ranges{{First: 2, Last: 6}}},
		{"none wanted", "172.16.0.0/29", ranges{{First: 3, Last: 3}}, 0, nil, ranges{{First: 3, Last: 3}}},
		{"holes first", "172.16.0.0/28", ranges{{First: 3, Last: 4}, {First: 7, Last: 7}}, 5, ranges{{First: 2, Last: 2}, {First: 5, Last: 6}, {First: 8, Last: 9}}, ranges{{First: 2, Last: 9}}},
		{"the last", "172.16.0.0/28", ranges{{First: 2, Last: 13}}, 3, ranges{{First: 14, Last: 14}}, ranges{{First: 2, Last: 14}}},
		{"bounded in a large subnet", "172.16.0.0/16", ranges{{First: 2, Last: 4000}}, 9, ranges{{First: 4001, Last: 4001}}, ranges{{First: 2, Last: 4001}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			taken, after := Allocate(netip.MustParsePrefix(test.prefix), test.used, test.n)
			if diff := cmp.Diff(test.taken, taken); diff != "" {
				t.Error("taken (-want +got):", diff)
			}
			if diff := cmp.Diff(test.after, after); diff != "" {
				t.Error("after (-want +got):", diff)
			}
		})
	}
}

func TestReleaseRefusesWhatIsFree(t *testing.T) {
	for _, r := range (ranges{{First: 5, Last: 5}, {First: 3, Last: 5}, {First: 1, Last: 2}, {First: 4, Last: 3}}) {
		if _, err := Release(ranges{{First: 2, Last: 4}, {First: 7, Last: 8}}, r); !errors.Is(err, cluster.ErrInvalid) {
			t.Errorf("release %v: %v, want an error of class invalid", r, err)
		}
	}
}

// Random allocations and releases agree with a set of numbers, and the ranges stay sorted and merged.
func TestAgainstSet(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		prefix := netip.PrefixFrom(cluster.TenantRange.Addr(), 22+random.IntN(8))
		var used ranges
		set := map[uint32]bool{}
		for range 60 {
			if random.IntN(2) == 0 {
				n := random.IntN(20)
				taken, after := Allocate(prefix, used, n)
				if got, want := Used(taken), min(n, Capacity(prefix)-len(set)); got != want {
					t.Fatalf("seed %d: took %d of %s with %d in use, want %d", seed, got, prefix, len(set), want)
				}
				for _, r := range taken {
					for host := r.First; host <= r.Last; host++ {
						if set[host] || host < 2 || host > 1<<(32-prefix.Bits())-2 {
							t.Fatalf("seed %d: host number %d of %s was handed out", seed, host, prefix)
						}
						set[host] = true
					}
				}
				used = after
			} else {
				for host := range set {
					var err error
					if used, err = Release(used, cluster.AddressRange{First: host, Last: host}); err != nil {
						t.Fatalf("seed %d: %v", seed, err)
					}
					delete(set, host)
					if random.IntN(4) == 0 {
						break
					}
				}
			}
			checkRanges(t, used, set)
		}
	}
}

func checkRanges(t *testing.T, used ranges, set map[uint32]bool) {
	t.Helper()
	if Used(used) != len(set) {
		t.Fatalf("%v hold %d numbers, want %d", used, Used(used), len(set))
	}
	for i, r := range used {
		if r.First > r.Last || i > 0 && r.First <= used[i-1].Last+1 {
			t.Fatalf("%v are not sorted and merged", used)
		}
		for host := r.First; host <= r.Last; host++ {
			if !set[host] {
				t.Fatalf("%d is in %v and not in use", host, used)
			}
		}
	}
}

func TestNextPrefix(t *testing.T) {
	tests := []struct {
		name  string
		pool  string
		bits  int
		taken []string
		want  string
	}{
		{"first", "172.16.0.0/12", 24, nil, "172.16.0.0/24"},
		{"second", "172.16.0.0/12", 24, []string{"172.16.0.0/24"}, "172.16.1.0/24"},
		{"hole", "172.16.0.0/12", 24, []string{"172.16.2.0/24", "172.16.0.0/24"}, "172.16.1.0/24"},
		{"after a larger one", "172.16.0.0/12", 24, []string{"172.16.0.0/20"}, "172.16.16.0/24"},
		{"larger than the hole", "172.16.0.0/12", 20, []string{"172.16.0.0/24", "172.16.40.0/24"}, "172.16.16.0/20"},
		{"full", "172.16.0.0/30", 31, []string{"172.16.0.0/31", "172.16.0.2/31"}, ""},
		{"last", "172.16.0.0/30", 31, []string{"172.16.0.0/31"}, "172.16.0.2/31"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var taken []netip.Prefix
			for _, text := range test.taken {
				taken = append(taken, netip.MustParsePrefix(text))
			}
			got, ok := NextPrefix(netip.MustParsePrefix(test.pool), test.bits, taken)
			if ok != (test.want != "") || ok && got.String() != test.want {
				t.Errorf("got %s %t, want %q", got, ok, test.want)
			}
		})
	}
}

func TestNextPrefixNeverOverlaps(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 7))
	var taken []netip.Prefix
	for range 300 {
		got, ok := NextPrefix(netip.MustParsePrefix("172.16.0.0/16"), 20+random.IntN(10), taken)
		if !ok {
			continue
		}
		if i := slices.IndexFunc(taken, got.Overlaps); i >= 0 {
			t.Fatalf("%s overlaps %s", got, taken[i])
		}
		taken = append(taken, got)
	}
}
