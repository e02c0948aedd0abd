package cluster

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPorts(t *testing.T) {
	tests := map[string]struct {
		ports []PortSpec
		want  string // a part of what is said; empty: nothing
	}{
		"one":                       {[]PortSpec{{Port: 80}}, ""},
		"both protocols":            {[]PortSpec{{Port: 53}, {Port: 53, Protocol: UDP}}, ""},
		"a number of its own":       {[]PortSpec{{Port: 80, Published: 8080}}, ""},
		"the last that is named":    {[]PortSpec{{Port: 80, Published: 15999}}, ""},
		"external IP":               {[]PortSpec{{Port: 8080, Published: 80, Address: AtExternalIP}, {Port: 8080, Published: 443, Address: AtExternalIP}}, ""},
		"both addresses":            {[]PortSpec{{Port: 80}, {Port: 80, Address: AtExternalIP}}, ""},
		"no port":                   {[]PortSpec{{}}, "ports[0].port: must be from 1 to 65535"},
		"a port beyond":             {[]PortSpec{{Port: 65536}}, "ports[0].port: must be from 1 to 65535"},
		"a protocol beyond":         {[]PortSpec{{Port: 1, Protocol: "sctp"}}, `ports[0].protocol: "sctp" is not a protocol`},
		"an address beyond":         {[]PortSpec{{Port: 1, Address: "host"}}, `ports[0].address: "host" has no published ports`},
		"a number that is chosen":   {[]PortSpec{{Port: 1, Published: 16000}}, "ports[0].published: must be from 1 to 15999 on the CNCI"},
		"a number below":            {[]PortSpec{{Port: 1, Published: -1}}, "ports[0].published: must be from 1 to 15999 on the CNCI"},
		"a number beyond":           {[]PortSpec{{Port: 1, Published: 65536, Address: AtExternalIP}}, "ports[0].published: must be from 1 to 65535"},
		"the tunnel's":              {[]PortSpec{{Port: 1, Published: 4789, Protocol: UDP}}, "4789/udp is the CNCI's own"},
		"the lease's":               {[]PortSpec{{Port: 1, Published: 68, Protocol: UDP}}, "68/udp is the CNCI's own"},
		"not the tunnel's":          {[]PortSpec{{Port: 1, Published: 4789}}, ""},
		"twice":                     {[]PortSpec{{Port: 80}, {Port: 80}}, "ports[1].published: this port is published already"},
		"one number for two":        {[]PortSpec{{Port: 80, Published: 80}, {Port: 81, Published: 80}}, "ports[1].published: this port is published already"},
		"one number, by default":    {[]PortSpec{{Port: 80, Published: 81, Address: AtExternalIP}, {Port: 81, Address: AtExternalIP}}, "ports[1].published: this port is published already"},
		"as many as can be chosen":  {[]PortSpec{{Port: 1}, {Port: 2}, {Port: 3}, {Port: 4}, {Port: 5, Published: 5}}, ""},
		"more than can be chosen":   {[]PortSpec{{Port: 1}, {Port: 2}, {Port: 3}, {Port: 4}, {Port: 5}}, "ports: at most 4 on the CNCI can do without published"},
		"more than a workload's":    {many(MaxPorts + 1), "ports: must be at most 8"},
		"as many as a workload has": {many(MaxPorts), ""},
	}
	for name, test := range tests {
		for _, spec := range []WorkloadSpec{{Kind: KindContainer, Image: "x"}, {Kind: KindProcess, Command: []string{"x"}}, {Kind: KindVM, Image: "x"}} {
			spec.Ports = test.ports
			err := spec.WithDefaults().Validate()
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s of a %s: %v, want %q", name, spec.Kind, err, test.want)
			}
		}
	}
}

func many(n int) (ports []PortSpec) {
	for port := range n {
		ports = append(ports, PortSpec{Port: port + 1, Published: port + 1})
	}
	return ports
}

func TestDefaultsOfPorts(t *testing.T) {
	given := []PortSpec{{Port: 80}, {Port: 53, Protocol: UDP, Address: AtExternalIP}}
	before := slices.Clone(given)
	got := WorkloadSpec{Kind: KindContainer, Image: "a", Ports: given}.WithDefaults()
	want := []PortSpec{{Port: 80, Protocol: TCP, Address: AtCNCI}, {Port: 53, Protocol: UDP, Address: AtExternalIP, Published: 53}}
	if diff := cmp.Diff(want, got.Ports); diff != "" {
		t.Error("(-want +got):", diff)
	}
	if diff := cmp.Diff(got, got.WithDefaults()); diff != "" {
		t.Error("twice is not once:", diff)
	}
	if diff := cmp.Diff(before, given); diff != "" {
		t.Error("the caller's list was changed:", diff)
	}
}
