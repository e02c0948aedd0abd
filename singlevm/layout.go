package singlevm

import "path/filepath"

// Names and addresses of the cluster's underlay. 198.51.100.0/24 is TEST-NET-2 (RFC 5737), as ciao's own singlevm had it.
const (
	ClusterName    = "singlevm"
	underlayBridge = "ciao_br"
	underlayHost   = "ciaovlan" // the machine's own place on the bridge
	// A bridge without ports has no carrier, and then neither have the macvlans on it: this pair is a port that is always up.
	underlayCarrier    = "ciao_port"
	underlayCarrierEnd = "ciao_port_end"
	underlayPrefix     = "198.51.100.0/24"
	hostAddress        = "198.51.100.1"
	leaseFirst         = "198.51.100.50"
	leaseLast          = "198.51.100.250"
	// Of IPv6 the underlay has unique local addresses (RFC 4193), where the machine's kernel has IPv6.
	underlayPrefix6 = "fd6a:90c4:1be7::/64"
	hostAddress6    = "fd6a:90c4:1be7::1"
)

// DefaultDirectory is where everything is kept.
const DefaultDirectory = "/var/lib/ciao/singlevm"

// layout is where things are below the cluster's directory.
type layout struct{ root string }

func (l layout) pki() string                 { return filepath.Join(l.root, "pki") }
func (l layout) users() string               { return filepath.Join(l.root, "users") }
func (l layout) user(name string) string     { return filepath.Join(l.users(), name+".pem") } // certificate and key
func (l layout) userCA() string              { return filepath.Join(l.users(), "ca.pem") }
func (l layout) environment(n string) string { return filepath.Join(l.users(), n+".env") }
func (l layout) clusterFile() string         { return filepath.Join(l.root, "cluster.yaml") }
func (l layout) storageFile() string         { return filepath.Join(l.root, "storage.yaml") } // part of all cluster files, if it is there
func (l layout) tenantsFile() string         { return filepath.Join(l.root, "tenants.json") }
func (l layout) controller() string          { return filepath.Join(l.root, "controller") }
func (l layout) scheduler() string           { return filepath.Join(l.root, "scheduler") }
func (l layout) launcher() string            { return filepath.Join(l.root, "launcher") }
func (l layout) nodes() string               { return filepath.Join(l.root, "nodes") } // a directory for each, named by its number
func (l layout) daemons() string             { return filepath.Join(l.root, "daemons") }
func (l layout) gateway() string             { return filepath.Join(l.root, "gateway") }
func (l layout) importing() string           { return filepath.Join(l.root, "importing") } // there while the engine is given the image
func (l layout) program(name string) string  { return filepath.Join(l.root, "programs", name) }
func (l layout) lock() string                { return filepath.Join(l.root, "lock") }
func (l layout) leases() string              { return filepath.Join(l.gateway(), "leases") }
