package cluster

import (
	"net/netip"
	"time"
)

// Tenant is the owner of instances, networks and quotas. Its id is the Organization of its users' certificates.
type Tenant struct {
	ID          string      `json:"id"`
	Name        string      `json:"name"`
	SubnetBits  int         `json:"subnet_bits"` // prefix length of each of its subnets, MinSubnetBits to MaxSubnetBits
	Permissions Permissions `json:"permissions"`
	Quota       Quota       `json:"quota"`
	Created     time.Time   `json:"created"`
}

// Permissions are what an operator allows a tenant beyond the ordinary.
type Permissions struct {
	PrivilegedContainers bool `json:"privileged_containers"`
}

// Bounds and default of a tenant's subnet size.
const (
	MinSubnetBits     = 16
	MaxSubnetBits     = 29
	DefaultSubnetBits = 24
)

// TenantRange is the private range that every tenant's subnets are carved from; tenants overlap freely (RFC 1918).
var TenantRange = netip.MustParsePrefix("172.16.0.0/12")

// Subnet is an address range of a tenant: one VXLAN network, one CNCI.
type Subnet struct {
	ID        string         `json:"id"`
	Tenant    string         `json:"tenant"`
	Key       uint32         `json:"key"` // VXLAN network identifier, 1 to 2^24-1, unique in the cluster (RFC 7348)
	Prefix    netip.Prefix   `json:"prefix"`
	Gateway   netip.Addr     `json:"gateway"`          // the CNCI's address in the subnet, the first host address
	Prefix6   netip.Prefix   `json:"prefix6,omitzero"` // beside Prefix; a subnet of a cluster that was older gets it with its next instance
	Gateway6  netip.Addr     `json:"gateway6,omitzero"`
	CNCI      string         `json:"cnci"`                // instance id of its concentrator, empty before there is one
	Allocated []AddressRange `json:"allocated,omitempty"` // host numbers in use, sorted, merged
	Created   time.Time      `json:"created"`
}

// AddressRange is a range of host numbers of a prefix, both ends included; host number 0 is the network address.
type AddressRange struct {
	First uint32 `json:"first"`
	Last  uint32 `json:"last"`
}
