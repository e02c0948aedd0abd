package payload_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/ciaocloud/ciao/cluster/payload"
)

// state makes paths of a version out of hosts and their nodes.
func state(version uint64, at map[byte]byte) payload.SubnetPaths {
	p := payload.SubnetPaths{ID: "a", Key: 1, Version: version}
	for _, host := range slices.Sorted(maps.Keys(at)) {
		p.Neighbours = append(p.Neighbours, payload.Neighbour{MAC: fmt.Sprintf("02:00:ac:10:00:%02x", host), Node: netip.AddrFrom4([4]byte{192, 0, 2, at[host]})})
	}
	return p
}

func TestNewsNameWhatChanged(t *testing.T) {
	before := state(1, map[byte]byte{1: 1, 2: 1, 3: 1, 4: 1})
	after := state(2, map[byte]byte{1: 1, 2: 7, 4: 1, 5: 1})
	news := after.NewsTo(before)
	if news.Since != 1 || len(news.Neighbours) != 2 || !slices.Equal(news.Gone, []string{"02:00:ac:10:00:03"}) {
		t.Errorf("news are %+v", news)
	}
	if all := after.NewsTo(state(1, nil)); all.Since != 0 || len(all.Neighbours) != 4 {
		t.Errorf("more changes than there are neighbours are told as %+v", all)
	}
}

// Whatever is lost, repeated, overtaken by others or forgotten: a node that takes the news for its own version has the paths of that
// version, and one that was told the newest version and does not have it knows that it has to ask.
func TestNewsNeverLeadAstray(t *testing.T) {
	for seed := range uint64(200) {
		chance := rand.New(rand.NewPCG(seed, 1))
		at := map[byte]byte{}
		versions := []payload.SubnetPaths{state(1, at)}
		var sent []payload.SubnetPaths
		var node payload.SubnetPaths
		for range 300 {
			last := versions[len(versions)-1]
			switch chance.IntN(10) {
			case 0, 1, 2, 3: // instances come, move and leave
				for range 1 + chance.IntN(3) {
					if host := byte(chance.IntN(20)); chance.IntN(3) == 0 {
						delete(at, host)
					} else {
						at[host] = byte(1 + chance.IntN(5))
					}
				}
				next := state(last.Version+1, at)
				next.Concentrator = netip.AddrFrom4([4]byte{192, 0, 2, byte(100 + chance.IntN(2))})
				versions = append(versions, next)
			case 4: // what it had a while ago is what it has after a crash
				node = versions[chance.IntN(len(versions))]
			case 5:
				sent = append(sent, last)
			case 6:
				sent = append(sent, last.Head())
			default:
				sent = append(sent, last.NewsTo(versions[chance.IntN(len(versions))]))
			}
			for len(sent) > 0 && chance.IntN(2) == 0 {
				i := chance.IntN(len(sent))
				news := sent[i]
				if chance.IntN(3) > 0 {
					sent = slices.Delete(sent, i, i+1)
				}
				if chance.IntN(4) == 0 {
					continue
				}
				after, follows := node.Follow(news)
				if follows && after.Version != news.Version || !follows && !after.Same(node) {
					t.Fatalf("seed %d: version %d follows %+v: %t, and is %d", seed, node.Version, news, follows, after.Version)
				}
				node = after
			}
			if node.Version != 0 && !node.Same(versions[node.Version-1]) {
				t.Fatalf("seed %d: version %d is\n%+v, want\n%+v", seed, node.Version, node, versions[node.Version-1])
			}
		}
		newest := versions[len(versions)-1]
		if after, follows := node.Follow(newest.Head()); follows != (node.Version == newest.Version) || follows && !after.Same(newest) {
			t.Fatalf("seed %d: a node with version %d is told %d and follows: %t", seed, node.Version, newest.Version, follows)
		}
	}
}
