package cli

import (
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// The answer to a repair is read field by field, and what is cut short is refused.
func TestDecodeRepaired(t *testing.T) {
	b := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), []byte{8, 1})
	b = protowire.AppendString(protowire.AppendTag(b, 2, protowire.BytesType), "it differs")
	for i, v := range []uint64{9, 8, uint64(time.Second)} {
		b = protowire.AppendVarint(protowire.AppendTag(b, protowire.Number(3+i), protowire.VarintType), v)
	}
	r, err := decodeRepaired(b)
	if err != nil || *r != (repaired{"it differs", 9, 8, time.Second}) {
		t.Errorf("%+v, %v", r, err)
	}
	whole := 0
	for n := range b {
		if _, err := decodeRepaired(b[:n]); err == nil {
			whole++
		}
	}
	if whole != 5 { // between two fields
		t.Errorf("%d of its beginnings are read", whole)
	}
}
