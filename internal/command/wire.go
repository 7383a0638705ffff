package command

import "google.golang.org/protobuf/encoding/protowire"

// depthLimit is how deep messages may lie in each other: the protobuf library's own limit, so that both read
// the same. What a transaction may nest is bounded far below it by Txn.Check.
const depthLimit = protowire.DefaultRecursionLimit

// decoder is one decoding: what was met on the way that the values do not show.
type decoder struct {
	lossy bool // a field or an operand was left out of the value
}

// varint reads a varint from the start of b; n is its length, 0 if there is none or it overflows 64 bits.
func varint(b []byte) (v uint64, n int) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), 1
	}
	if len(b) > 1 && b[1] < 0x80 {
		return uint64(b[0]&0x7f) | uint64(b[1])<<7, 2
	}
	v, n = protowire.ConsumeVarint(b)
	return v, max(n, 0)
}

// field reads a field's tag: number and wire type as they lie in it, so that cases compare one number. n is 0 if
// there is none, or one that no message can hold.
func field(b []byte) (tag uint64, n int) {
	if len(b) > 0 && b[0] >= 1<<3 && b[0] < 0x80 {
		return uint64(b[0]), 1
	}
	tag, n = varint(b)
	if num := tag >> 3; num < uint64(protowire.MinValidNumber) || num > uint64(protowire.MaxValidNumber) {
		return 0, 0
	}
	return tag, n
}

// span reads a length and so many bytes; n is the length of both, 0 if they are not there.
func span(b []byte) (v []byte, n int) {
	l, n := varint(b)
	if n == 0 || l > uint64(len(b)-n) {
		return nil, 0
	}
	end := n + int(l)
	return b[n:end:end], end
}

// skip returns the length of the value of a field that the decoder does not know, 0 if it is broken.
func (d *decoder) skip(tag uint64, b []byte) int {
	d.lossy = true
	n := protowire.ConsumeFieldValue(protowire.Number(tag>>3), protowire.Type(tag&7), b)
	return max(n, 0)
}

// The wire types that requests use; number<<3 | type is the tag that field reads.
const (
	wireVarint = uint64(protowire.VarintType)
	wireBytes  = uint64(protowire.BytesType)
)
