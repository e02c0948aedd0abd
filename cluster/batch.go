package cluster

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"iter"
	"net/netip"
)

// MaxBatch is the most instances of one request.
const MaxBatch = 10_000

// Batch is a create of many instances as one record, unfolded in bounded transactions. Its reservations (quota, names,
// addresses) are made with it. Everything of its instances follows from it, so that they can be shown before they are stored.
type Batch struct {
	ID       string         `json:"id"`
	Template Instance       `json:"template"` // everything that its instances share; Name is the common stem
	Count    int            `json:"count"`
	Unfolded int            `json:"unfolded"`          // instances 0 to Unfolded-1 are in the store
	Segments []BatchSegment `json:"segments"`          // where the addresses come from, in order
	Volumes  []Volume       `json:"volumes,omitempty"` // that are made with each instance, without what differs
}

// BatchSegment is a run of reserved host numbers of one subnet.
type BatchSegment struct {
	Subnet  string       `json:"subnet"`
	Prefix  netip.Prefix `json:"prefix"`
	Prefix6 netip.Prefix `json:"prefix6,omitzero"`
	Range   AddressRange `json:"range"`
}

// InstanceID is the id of the batch's instance i: a UUID of version 8 (RFC 9562) made of the batch's id and the number, the same
// whenever it is asked for.
func (b Batch) InstanceID(i int) string {
	return derivedID(sha256.Sum256(binary.BigEndian.AppendUint64([]byte(b.ID), uint64(i))))
}

func derivedID(sum [sha256.Size]byte) string {
	id := sum[:16]
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

// InstanceName is the name of the batch's instance i: the stem alone if it is the only one, else stem-1 and so on.
func (b Batch) InstanceName(i int) string {
	if b.Count == 1 {
		return b.Template.Name
	}
	return fmt.Sprintf("%s-%d", b.Template.Name, i+1)
}

// Instances yields the batch's instances from number from on, as they are when they are unfolded.
func (b Batch) Instances(from int) iter.Seq[Instance] {
	return func(yield func(Instance) bool) {
		i := 0
		for _, segment := range b.Segments {
			n := segment.Range.Len()
			for k := max(0, from-i); k < n && i+k < b.Count; k++ {
				if !yield(b.instance(i+k, segment, segment.Range.First+uint32(k))) {
					return
				}
			}
			i += n
		}
	}
}

// Instance is the batch's instance i; false when it has none.
func (b Batch) Instance(i int) (Instance, bool) {
	if i >= 0 {
		for instance := range b.Instances(i) {
			return instance, true
		}
	}
	return Instance{}, false
}

func (b Batch) instance(i int, segment BatchSegment, host uint32) Instance {
	address := HostAddress(segment.Prefix, host)
	instance := b.Template
	instance.ID = b.InstanceID(i)
	instance.Name = b.InstanceName(i)
	instance.Subnet = segment.Subnet
	instance.MAC = HardwareAddress(address)
	instance.Addresses = []netip.Addr{address}
	if segment.Prefix6.IsValid() {
		instance.Addresses = append(instance.Addresses, HostAddress(segment.Prefix6, host))
	}
	return instance
}
