package command

import (
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// The canonical encodings: every field once, in the order of its number, nothing that is zero. The decoders read
// from them exactly the value that was encoded.

// AppendPut appends p as an etcdserverpb.PutRequest.
func AppendPut(dst []byte, p *Put) []byte {
	dst = appendBytes(dst, 1, p.Key)
	dst = appendBytes(dst, 2, p.Value)
	dst = appendNumber(dst, 3, int64(p.Lease))
	dst = appendBool(dst, 4, p.PrevKV)
	dst = appendBool(dst, 5, p.IgnoreValue)
	return appendBool(dst, 6, p.IgnoreLease)
}

// AppendRange appends r as an etcdserverpb.RangeRequest.
func AppendRange(dst []byte, r *Range) []byte {
	key, end := r.Interval.Wire()
	dst = appendBytes(dst, 1, key)
	dst = appendBytes(dst, 2, end)
	dst = appendNumber(dst, 3, r.Limit)
	dst = appendNumber(dst, 4, int64(r.Revision))
	dst = appendNumber(dst, 5, int64(r.Order))
	dst = appendNumber(dst, 6, int64(r.Target))
	dst = appendBool(dst, 7, r.Serializable)
	dst = appendBool(dst, 8, r.KeysOnly)
	dst = appendBool(dst, 9, r.CountOnly)
	dst = appendNumber(dst, 10, int64(r.MinMod))
	dst = appendNumber(dst, 11, int64(r.MaxMod))
	dst = appendNumber(dst, 12, int64(r.MinCreate))
	return appendNumber(dst, 13, int64(r.MaxCreate))
}

// AppendDeleteRange appends r as an etcdserverpb.DeleteRangeRequest.
func AppendDeleteRange(dst []byte, r *DeleteRange) []byte {
	key, end := r.Interval.Wire()
	dst = appendBytes(dst, 1, key)
	dst = appendBytes(dst, 2, end)
	return appendBool(dst, 3, r.PrevKV)
}

// AppendCompaction appends c as an etcdserverpb.CompactionRequest.
func AppendCompaction(dst []byte, c *Compaction) []byte {
	dst = appendNumber(dst, 1, int64(c.Revision))
	return appendBool(dst, 2, c.Physical)
}

// AppendTxn appends t as an etcdserverpb.TxnRequest.
func AppendTxn(dst []byte, t *Txn) []byte {
	for i := range t.Compares {
		dst = appendMessage(dst, 1, func(dst []byte) []byte { return appendCompare(dst, &t.Compares[i]) })
	}
	for i := range t.Success {
		dst = appendMessage(dst, 2, func(dst []byte) []byte { return appendOp(dst, &t.Success[i]) })
	}
	for i := range t.Failure {
		dst = appendMessage(dst, 3, func(dst []byte) []byte { return appendOp(dst, &t.Failure[i]) })
	}
	return dst
}

func appendOp(dst []byte, o *Op) []byte {
	switch {
	case o.Range != nil:
		return appendMessage(dst, 1, func(dst []byte) []byte { return AppendRange(dst, o.Range) })
	case o.Put != nil:
		return appendMessage(dst, 2, func(dst []byte) []byte { return AppendPut(dst, o.Put) })
	case o.Delete != nil:
		return appendMessage(dst, 3, func(dst []byte) []byte { return AppendDeleteRange(dst, o.Delete) })
	case o.Txn != nil:
		return appendMessage(dst, 4, func(dst []byte) []byte { return AppendTxn(dst, o.Txn) })
	}
	return dst
}

func appendCompare(dst []byte, c *Compare) []byte {
	key, end := c.Interval.Wire()
	dst = appendNumber(dst, 1, int64(c.Result))
	dst = appendNumber(dst, 2, int64(c.Target))
	dst = appendBytes(dst, 3, key)
	switch {
	case c.Target == CompareValue:
		dst = appendBytes(dst, 7, c.Value)
	case c.Target >= 0 && int(c.Target) < len(operands):
		dst = appendNumber(dst, protowire.Number(operands[c.Target]), c.Number)
	}
	return appendBytes(dst, 64, end)
}

func appendBytes(dst []byte, number protowire.Number, v []byte) []byte {
	if len(v) == 0 {
		return dst
	}
	dst = protowire.AppendTag(dst, number, protowire.BytesType)
	return protowire.AppendBytes(dst, v)
}

func appendNumber(dst []byte, number protowire.Number, v int64) []byte {
	if v == 0 {
		return dst
	}
	dst = protowire.AppendTag(dst, number, protowire.VarintType)
	return protowire.AppendVarint(dst, uint64(v))
}

func appendBool(dst []byte, number protowire.Number, v bool) []byte {
	if !v {
		return dst
	}
	dst = protowire.AppendTag(dst, number, protowire.VarintType)
	return append(dst, 1)
}

// appendMessage appends a message that body writes. Its length is known only afterwards, so the body moves by
// the size of the length.
func appendMessage(dst []byte, number protowire.Number, body func([]byte) []byte) []byte {
	dst = protowire.AppendTag(dst, number, protowire.BytesType)
	start := len(dst)
	dst = body(dst)
	var length [10]byte
	return slices.Insert(dst, start, protowire.AppendVarint(length[:0], uint64(len(dst)-start))...)
}
