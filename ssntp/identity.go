package ssntp

import (
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"net/url"
	"strings"
)

// Role is a set of roles. Bit N-1 stands for the extended key usage
// 1.3.6.1.4.1.343.8.N (Intel's arc, as ciao used it).
type Role uint32

// The roles. A certificate may carry several: a machine that is compute node
// and network node at once has RoleAgent|RoleNetAgent.
const (
	RoleAgent      Role = 1 << iota // compute node launcher, .1
	RoleScheduler                   // .2
	RoleController                  // .3
	RoleNetAgent                    // network node launcher, .4
	RoleServer                      // a server without scheduling, .5
	RoleCNCIAgent                   // concentrator agent, .6

	allRoles = RoleCNCIAgent<<1 - 1
)

var roleNames = [...]string{"agent", "scheduler", "controller", "netagent", "server", "cnciagent"}

// Each yields the single roles of the set, lowest first.
func (r Role) Each(yield func(Role) bool) {
	for n := range roleNames {
		if one := Role(1) << n; r&one != 0 && !yield(one) {
			return
		}
	}
}

// String joins the names of the roles with "|"; an empty set is "none".
func (r Role) String() string {
	var names []string
	for n, name := range roleNames {
		if r&(1<<n) != 0 {
			names = append(names, name)
		}
	}
	if rest := r &^ allRoles; rest != 0 {
		names = append(names, fmt.Sprintf("%#x", uint32(rest)))
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, "|")
}

// ParseRole reads what [Role.String] writes; "," also separates.
func ParseRole(s string) (Role, error) {
	var roles Role
	for word := range strings.FieldsFuncSeq(s, func(c rune) bool { return c == '|' || c == ',' }) {
		one, err := parseOneRole(strings.TrimSpace(word))
		if err != nil {
			return 0, err
		}
		roles |= one
	}
	if roles == 0 {
		return 0, fmt.Errorf("%q names no role: want one of %s", s, strings.Join(roleNames[:], ", "))
	}
	return roles, nil
}

func parseOneRole(word string) (Role, error) {
	for n, name := range roleNames {
		if word == name {
			return 1 << n, nil
		}
	}
	return 0, fmt.Errorf("unknown role %q: want one of %s", word, strings.Join(roleNames[:], ", "))
}

var roleArc = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 343, 8}

// OIDs returns the extended key usages that grant the roles.
func (r Role) OIDs() []asn1.ObjectIdentifier {
	var oids []asn1.ObjectIdentifier
	for n := range roleNames {
		if r&(1<<n) != 0 {
			oids = append(oids, append(roleArc[:len(roleArc):len(roleArc)], n+1))
		}
	}
	return oids
}

// Identity is who a peer is, as its certificate says.
type Identity struct {
	ID    ID
	Roles Role
}

// String is for logs: "<uuid> (agent|netagent)".
func (i Identity) String() string { return i.ID.String() + " (" + i.Roles.String() + ")" }

// URI returns the subject alternative name that carries the ID.
func (i Identity) URI() *url.URL {
	return &url.URL{Scheme: "ciao", Host: "node", Path: "/" + i.ID.String()}
}

// IdentityOf reads the identity out of a certificate. The caller must have
// verified the certificate; a TLS handshake with this package's configuration
// has. It fails when the certificate has no role or not exactly one
// ciao://node/<uuid> name.
func IdentityOf(cert *x509.Certificate) (Identity, error) {
	var identity Identity
	for _, oid := range cert.UnknownExtKeyUsage {
		identity.Roles |= roleOf(oid)
	}
	if identity.Roles == 0 {
		return Identity{}, fmt.Errorf("certificate %q carries no role: issue it with one of %s",
			cert.Subject.CommonName, strings.Join(roleNames[:], ", "))
	}
	for _, uri := range cert.URIs {
		if uri.Scheme != "ciao" || uri.Host != "node" {
			continue
		}
		id, err := ParseID(strings.TrimPrefix(uri.Path, "/"))
		if err != nil || id.IsZero() {
			return Identity{}, fmt.Errorf("certificate %q has the name %s, which is not ciao://node/<uuid>", cert.Subject.CommonName, uri)
		}
		if !identity.ID.IsZero() {
			return Identity{}, fmt.Errorf("certificate %q names two nodes: issue one certificate for each", cert.Subject.CommonName)
		}
		identity.ID = id
	}
	if identity.ID.IsZero() {
		return Identity{}, fmt.Errorf("certificate %q names no node: issue it with the URI ciao://node/<uuid>", cert.Subject.CommonName)
	}
	return identity, nil
}

func roleOf(oid asn1.ObjectIdentifier) Role {
	last := len(roleArc)
	if len(oid) != last+1 || !oid[:last].Equal(roleArc) || oid[last] < 1 || oid[last] > len(roleNames) {
		return 0
	}
	return 1 << (oid[last] - 1)
}
