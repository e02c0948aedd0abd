// Package payload holds the bodies of SSNTP frames, one type per operand.
//
// A body is CBOR (RFC 8949) with small integer keys, so that a field may be renamed without breaking a peer. Unknown keys are
// ignored and missing ones are zero: peers of neighbouring versions understand each other. Every command is idempotent per
// (instance id, generation): a repeated or late one changes nothing.
//
// What is guaranteed: Decode never panics, never allocates more than a bounded multiple of its input, and refuses trailing
// bytes. Text fields come from other machines: what a receiver shows or stores, it bounds.
package payload

import (
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"github.com/ciaocloud/ciao/cluster"
)

// Encode returns the body as CBOR.
func Encode(body any) ([]byte, error) {
	data, err := cbor.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", body, err)
	}
	return data, nil
}

// Decode reads a body of type T; the error is of class cluster.ErrInvalid.
func Decode[T any](data []byte) (T, error) {
	var body T
	if err := decoder.Unmarshal(data, &body); err != nil {
		return body, fmt.Errorf("decode %T: %w: %w", body, cluster.ErrInvalid, err)
	}
	return body, nil
}

// Bounds of what one frame may hold.
const (
	maxElements = 16_384
	maxNesting  = 16
)

var decoder = mustDecoder()

func mustDecoder() cbor.DecMode {
	mode, err := cbor.DecOptions{
		MaxArrayElements: maxElements,
		MaxMapPairs:      maxElements,
		MaxNestedLevels:  maxNesting,
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
	}.DecMode()
	if err != nil {
		panic(err) // the options are constants: a test runs this
	}
	return mode
}
