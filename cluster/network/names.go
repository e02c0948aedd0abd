package network

import (
	"crypto/sha256"
	"encoding/hex"
	"net"
	"net/netip"

	"github.com/ciaocloud/ciao/cluster"
)

// EngineEnd is the name of the end of an instance's veth that its carrier takes. Names of links have at most 15 bytes, so that they
// are made of a digest of the id; equal ids give equal names on every call and after every restart.
func EngineEnd(instance string) string { return "ce" + digest(instance) }

// NodeEnd is the name of the end of an instance's port in the node's namespace.
func NodeEnd(instance string) string { return "cp" + digest(instance) }

// BridgeName is the name of a subnet's bridge.
func BridgeName(subnet string) string { return "cb" + digest(subnet) }

// VXLANName is the name of a subnet's VXLAN device.
func VXLANName(subnet string) string { return "cx" + digest(subnet) }

// Underlay is the name of the link that leads to the underlay, in every namespace of ours.
const Underlay = "underlay"

// NodeNamespace is the name of a node's network namespace, as `ip netns` shows it.
func NodeNamespace(cluster, node string) string { return "ciao-" + cluster + "-" + short(node) }

// ConcentratorNamespace is the name of a CNCI's network namespace.
func ConcentratorNamespace(cluster, instance string) string {
	return "ciao-" + cluster + "-cnci-" + short(instance)
}

// Mark is the alias of a kernel object of ours. kind is what id names: node, cnci, subnet or instance.
func Mark(cluster, kind, id string) string { return "ciao/" + cluster + "/" + kind + "/" + id }

// UnderlayMAC is the MAC of the underlay link of a node or CNCI: the same after every restart, so that the DHCP server of the
// underlay knows it again. It is locally administered (IEEE 802, second bit of the first byte).
func UnderlayMAC(cluster, id string) net.HardwareAddr {
	sum := sha256.Sum256([]byte("underlay/" + cluster + "/" + id))
	return net.HardwareAddr{0x06, sum[0], sum[1], sum[2], sum[3], sum[4]}
}

// MACOf is the MAC that belongs to an IPv4 address of a tenant's subnet, 02:00 and the address: unique where the address is.
func MACOf(address netip.Addr) net.HardwareAddr {
	a := address.As4()
	return net.HardwareAddr{0x02, 0x00, a[0], a[1], a[2], a[3]}
}

// LinkLocalOf is the link-local address of the link with a MAC in canonical form.
func LinkLocalOf(mac string) netip.Addr {
	parsed, _ := net.ParseMAC(mac) // checked with the port
	return cluster.LinkLocal(parsed)
}

func digest(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:6])
}

// short is eight digits for an id. They are of a digest and not of the id itself: the first digits of a version 7 UUID (RFC 9562)
// are the clock, the same for all that are made within a minute.
func short(id string) string { return digest(id)[:8] }
