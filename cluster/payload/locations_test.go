package payload_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/payload"
)

var (
	four = netip.MustParseAddr("192.0.2.7")
	six  = netip.MustParseAddr("2001:db8::7")
)

func TestLocationsAreReadAsWritten(t *testing.T) {
	for name, want := range map[string]payload.SubnetPaths{
		"none": {ID: "a"},
		"some": {
			ID:         "a",
			Neighbours: payload.Neighbours{{MAC: "02:00:ac:10:00:02", Node: six}, {MAC: "02:00:ac:10:00:03", Node: four}},
		},
	} {
		data, err := payload.Encode(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := payload.Decode[payload.SubnetPaths](data)
		if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); err != nil || diff != "" {
			t.Errorf("%s: %v: %s", name, err, diff)
		}
	}
}

// The bytes are those that peers of other versions know.
func TestLocationsOnTheWire(t *testing.T) {
	data, err := payload.Neighbours{{MAC: "02:00:ac:10:00:02", Node: four}}.MarshalBinary()
	if want := "\x02\x00\xac\x10\x00\x02" + "\x04\xc0\x00\x02\x07"; err != nil || string(data) != want {
		t.Errorf("%x, %v, want %x", data, err, want)
	}
	data, err = payload.Neighbours{{MAC: "02:00:ac:10:00:02", Node: netip.MustParseAddr("fe80::1%eth0")}}.MarshalBinary()
	if want := "\x02\x00\xac\x10\x00\x02" + "\x10\xfe\x80" + strings.Repeat("\x00", 13) + "\x01"; err != nil || string(data) != want {
		t.Errorf("%x, %v, want %x", data, err, want)
	}
}

func TestBadLocations(t *testing.T) {
	for _, bad := range []string{"\x04\xc0\x00\x02", "\x05abcde", "\x00", "\x04", "\xff", "\xff" + strings.Repeat("a", 255)} {
		for _, mac := range []string{"", "\x02\x00\xac", "\x02\x00\xac\x10\x00\x02"} {
			if err := new(payload.Neighbours).UnmarshalBinary([]byte(mac + bad)); !errors.Is(err, cluster.ErrInvalid) {
				t.Errorf("neighbours %x: %v", mac+bad, err)
			}
		}
	}
	long := []byte(strings.Repeat("\x02\x00\xac\x10\x00\x02\x04\xc0\x00\x02\x07", 16_385))
	if err := new(payload.Neighbours).UnmarshalBinary(long); !errors.Is(err, cluster.ErrInvalid) {
		t.Errorf("more than a list may have: %v", err)
	}
	for name, list := range map[string]payload.Neighbours{"MAC": {{MAC: "02:00", Node: four}}, "address": {{MAC: "02:00:ac:10:00:02"}}} {
		if _, err := list.MarshalBinary(); !errors.Is(err, cluster.ErrInvalid) {
			t.Errorf("a neighbour without %s: %v", name, err)
		}
	}
}

func FuzzNeighbours(f *testing.F) {
	f.Add([]byte("\x02\x00\xac\x10\x00\x02\x04\xc0\x00\x02\x07"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var list payload.Neighbours
		if list.UnmarshalBinary(data) != nil {
			return
		}
		if again, err := list.MarshalBinary(); err != nil || string(again) != string(data) {
			t.Errorf("%x is read and written as %x, %v", data, again, err)
		}
	})
}
