package ssntp

import (
	"crypto/x509"
	"encoding/asn1"
	"net/url"
	"testing"
)

func TestIdentityOf(t *testing.T) {
	id, other := NewID(), NewID()
	uri := func(s string) *url.URL {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	own := uri("ciao://node/" + id.String())
	agent := RoleAgent.OIDs()
	tests := map[string]struct {
		uris []*url.URL
		oids []asn1.ObjectIdentifier
		want Identity // zero: refused
	}{
		"one role":              {[]*url.URL{own}, agent, Identity{id, RoleAgent}},
		"two roles":             {[]*url.URL{own}, (RoleAgent | RoleNetAgent).OIDs(), Identity{id, RoleAgent | RoleNetAgent}},
		"other names and usage": {[]*url.URL{uri("https://x/" + other.String()), own}, append([]asn1.ObjectIdentifier{{1, 2, 3}}, agent...), Identity{id, RoleAgent}},
		"no role":               {[]*url.URL{own}, nil, Identity{}},
		"role 7":                {[]*url.URL{own}, []asn1.ObjectIdentifier{{1, 3, 6, 1, 4, 1, 343, 8, 7}}, Identity{}},
		"role 0":                {[]*url.URL{own}, []asn1.ObjectIdentifier{{1, 3, 6, 1, 4, 1, 343, 8, 0}}, Identity{}},
		"below a role":          {[]*url.URL{own}, []asn1.ObjectIdentifier{{1, 3, 6, 1, 4, 1, 343, 8, 1, 1}}, Identity{}},
		"no id":                 {nil, agent, Identity{}},
		"two ids":               {[]*url.URL{own, uri("ciao://node/" + other.String())}, agent, Identity{}},
		"a broken id":           {[]*url.URL{uri("ciao://node/me")}, agent, Identity{}},
		"nobody's id":           {[]*url.URL{Identity{}.URI()}, agent, Identity{}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := IdentityOf(&x509.Certificate{URIs: test.uris, UnknownExtKeyUsage: test.oids})
			if (err == nil) != (test.want != Identity{}) || err == nil && got != test.want {
				t.Errorf("got %v, %v; want %v", got, err, test.want)
			}
		})
	}
}

func TestRoleText(t *testing.T) {
	for role := Role(1); role <= allRoles; role++ {
		if got, err := ParseRole(role.String()); err != nil || got != role {
			t.Errorf("%v is read as %v, %v", role, got, err)
		}
	}
	for _, bad := range []string{"", "none", "boss", "agent|boss"} {
		if _, err := ParseRole(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestIDText(t *testing.T) {
	id := NewID()
	if got, err := ParseID(id.String()); err != nil || got != id {
		t.Errorf("%v is read as %v, %v", id, got, err)
	}
	for _, bad := range []string{"", "x", id.String()[1:], "g" + id.String()[1:], id.String() + "0"} {
		if _, err := ParseID(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
