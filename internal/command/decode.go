package command

import "holdfast/internal/kind"

// The decoders read what the protobuf library would read from the same bytes: the last value of a field stands,
// a message that comes in several pieces is merged, a known field with a wrong wire type counts as unknown. They
// copy nothing. known is false if the bytes hold more than the value shows (an unknown field, a compare's
// operand that does not fit its target): such bytes are not proposed as they came, but encoded anew. The only
// error is ErrWire.

// DecodePut reads an etcdserverpb.PutRequest.
func DecodePut(b []byte) (p Put, known bool, err error) {
	var d decoder
	if !d.put(&p, b) {
		return Put{}, false, ErrWire
	}
	return p, !d.lossy, nil
}

// DecodeRange reads an etcdserverpb.RangeRequest.
func DecodeRange(b []byte) (r Range, known bool, err error) {
	var d decoder
	if !d.rng(&r, b) {
		return Range{}, false, ErrWire
	}
	return r, !d.lossy, nil
}

// DecodeDeleteRange reads an etcdserverpb.DeleteRangeRequest.
func DecodeDeleteRange(b []byte) (r DeleteRange, known bool, err error) {
	var d decoder
	if !d.deleteRange(&r, b) {
		return DeleteRange{}, false, ErrWire
	}
	return r, !d.lossy, nil
}

// DecodeTxn reads an etcdserverpb.TxnRequest.
func DecodeTxn(b []byte) (t Txn, known bool, err error) {
	var d decoder
	if !d.txn(&t, b, depthLimit) {
		return Txn{}, false, ErrWire
	}
	return t, !d.lossy, nil
}

// DecodeCompaction reads an etcdserverpb.CompactionRequest.
func DecodeCompaction(b []byte) (c Compaction, known bool, err error) {
	var d decoder
	for len(b) > 0 {
		tag, n := field(b)
		if n == 0 {
			return Compaction{}, false, ErrWire
		}
		b = b[n:]
		var v uint64
		switch tag {
		case 1<<3 | wireVarint:
			v, n = varint(b)
			c.Revision = kind.Revision(v)
		case 2<<3 | wireVarint:
			v, n = varint(b)
			c.Physical = v != 0
		default:
			n = d.skip(tag, b)
		}
		if n == 0 {
			return Compaction{}, false, ErrWire
		}
		b = b[n:]
	}
	return c, !d.lossy, nil
}

func (d *decoder) put(p *Put, b []byte) bool {
	for len(b) > 0 {
		tag, n := field(b)
		if n == 0 {
			return false
		}
		b = b[n:]
		var v uint64
		switch tag {
		case 1<<3 | wireBytes:
			p.Key, n = span(b)
		case 2<<3 | wireBytes:
			p.Value, n = span(b)
		case 3<<3 | wireVarint:
			v, n = varint(b)
			p.Lease = kind.LeaseID(v)
		case 4<<3 | wireVarint:
			v, n = varint(b)
			p.PrevKV = v != 0
		case 5<<3 | wireVarint:
			v, n = varint(b)
			p.IgnoreValue = v != 0
		case 6<<3 | wireVarint:
			v, n = varint(b)
			p.IgnoreLease = v != 0
		default:
			n = d.skip(tag, b)
		}
		if n == 0 {
			return false
		}
		b = b[n:]
	}
	return true
}

func (d *decoder) rng(r *Range, b []byte) bool {
	key, end := r.Interval.Wire()
	for len(b) > 0 {
		tag, n := field(b)
		if n == 0 {
			return false
		}
		b = b[n:]
		var v uint64
		switch tag {
		case 1<<3 | wireBytes:
			key, n = span(b)
		case 2<<3 | wireBytes:
			end, n = span(b)
		case 3<<3 | wireVarint:
			v, n = varint(b)
			r.Limit = int64(v)
		case 4<<3 | wireVarint:
			v, n = varint(b)
			r.Revision = kind.Revision(v)
		case 5<<3 | wireVarint:
			v, n = varint(b)
			r.Order = Order(v)
		case 6<<3 | wireVarint:
			v, n = varint(b)
			r.Target = Target(v)
		case 7<<3 | wireVarint:
			v, n = varint(b)
			r.Serializable = v != 0
		case 8<<3 | wireVarint:
			v, n = varint(b)
			r.KeysOnly = v != 0
		case 9<<3 | wireVarint:
			v, n = varint(b)
			r.CountOnly = v != 0
		case 10<<3 | wireVarint:
			v, n = varint(b)
			r.MinMod = kind.Revision(v)
		case 11<<3 | wireVarint:
			v, n = varint(b)
			r.MaxMod = kind.Revision(v)
		case 12<<3 | wireVarint:
			v, n = varint(b)
			r.MinCreate = kind.Revision(v)
		case 13<<3 | wireVarint:
			v, n = varint(b)
			r.MaxCreate = kind.Revision(v)
		default:
			n = d.skip(tag, b)
		}
		if n == 0 {
			return false
		}
		b = b[n:]
	}
	r.Interval = NewInterval(key, end)
	return true
}

func (d *decoder) deleteRange(r *DeleteRange, b []byte) bool {
	key, end := r.Interval.Wire()
	for len(b) > 0 {
		tag, n := field(b)
		if n == 0 {
			return false
		}
		b = b[n:]
		var v uint64
		switch tag {
		case 1<<3 | wireBytes:
			key, n = span(b)
		case 2<<3 | wireBytes:
			end, n = span(b)
		case 3<<3 | wireVarint:
			v, n = varint(b)
			r.PrevKV = v != 0
		default:
			n = d.skip(tag, b)
		}
		if n == 0 {
			return false
		}
		b = b[n:]
	}
	r.Interval = NewInterval(key, end)
	return true
}
