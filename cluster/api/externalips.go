package api

import (
	"net/netip"
	"time"

	"github.com/ciaocloud/ciao/cluster"
)

// Pool is a set of addresses of the underlay that an operator lends to tenants' instances.
type Pool struct {
	ID        string    `json:"id" doc:"UUID"`
	Name      string    `json:"name"`
	Addresses []string  `json:"addresses" nullable:"false" doc:"its ranges and single addresses; shown to operators"`
	Total     int       `json:"total" doc:"addresses that it can lend"`
	Free      int       `json:"free" doc:"those that nobody has"`
	Created   time.Time `json:"created"`
}

// CreatePool is a new pool.
type CreatePool struct {
	Name      string   `json:"name" minLength:"1" maxLength:"63"`
	Addresses []string `json:"addresses" minItems:"1" maxItems:"64" doc:"ranges such as 198.51.100.16/28 or 2001:db8::100/120, of which the first and the last address are not lent, and single addresses, all of one family"`
}

// UpdatePool changes what a pool has: first what is to be added, then what is to be removed.
type UpdatePool struct {
	Add    []string `json:"add,omitempty" maxItems:"64" doc:"ranges and single addresses"`
	Remove []string `json:"remove,omitempty" maxItems:"64" doc:"ranges and single addresses, as they were added"`
}

// ExternalIP is an address of a pool that a tenant has.
type ExternalIP struct {
	Address    netip.Addr              `json:"address" doc:"its name, too"`
	Pool       string                  `json:"pool" doc:"name of its pool"`
	Tenant     string                  `json:"tenant"`
	State      cluster.ExternalIPState `json:"state" doc:"reserved, mapping, mapped, failed or unmapping"`
	Instance   string                  `json:"instance" doc:"name of the instance that it is attached to, empty without one"`
	InstanceID string                  `json:"instance_id"`
	Internal   string                  `json:"internal" doc:"that instance's address in its subnet"`
	Reason     string                  `json:"reason" doc:"why it is in its state, for people"`
	Created    time.Time               `json:"created"`
}

// CreateExternalIP asks for an address of a pool.
type CreateExternalIP struct {
	Pool     string `json:"pool,omitempty" maxLength:"64" doc:"name or id; may be left out where there is one only, or one only of IPv4"`
	Instance string `json:"instance,omitempty" maxLength:"64" doc:"name or id of the instance to attach it to"`
}

// AttachExternalIP says to what an external IP is attached.
type AttachExternalIP struct {
	Instance string `json:"instance" minLength:"1" maxLength:"64" doc:"name or id"`
}
