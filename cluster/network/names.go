package network

import (
	"crypto/sha256"
	"encoding/hex"
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

func digest(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:6])
}
