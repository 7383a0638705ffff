package command

// txn reads a transaction into t, after what t holds already. depth is how many messages may still be opened,
// this one included.
func (d *decoder) txn(t *Txn, b []byte, depth int) bool {
	if depth--; depth < 0 {
		return false
	}
	d.reserve(t, b)
	for len(b) > 0 {
		tag, n := field(b)
		if n == 0 {
			return false
		}
		b = b[n:]
		var v []byte
		ok := true
		switch tag {
		case 1<<3 | wireBytes:
			if v, n = span(b); n > 0 {
				t.Compares = append(t.Compares, Compare{})
				ok = d.compare(&t.Compares[len(t.Compares)-1], v, depth)
			}
		case 2<<3 | wireBytes:
			if v, n = span(b); n > 0 {
				t.Success = append(t.Success, Op{})
				ok = d.op(&t.Success[len(t.Success)-1], v, depth)
			}
		case 3<<3 | wireBytes:
			if v, n = span(b); n > 0 {
				t.Failure = append(t.Failure, Op{})
				ok = d.op(&t.Failure[len(t.Failure)-1], v, depth)
			}
		default:
			n = d.skip(tag, b)
		}
		if n == 0 || !ok {
			return false
		}
		b = b[n:]
	}
	return true
}

// reserve counts the fields of a transaction first, so that each of its lists is allocated once. Whatever is
// wrong with the bytes is left for txn to find.
func (d *decoder) reserve(t *Txn, b []byte) {
	var compares, success, failure int
	for len(b) > 0 {
		tag, n := field(b)
		if n == 0 || tag&7 != wireBytes {
			break
		}
		b = b[n:]
		if _, n = span(b); n == 0 {
			break
		}
		b = b[n:]
		switch tag >> 3 {
		case 1:
			compares++
		case 2:
			success++
		case 3:
			failure++
		}
	}
	if compares > 0 && t.Compares == nil {
		t.Compares = make([]Compare, 0, compares)
	}
	if t.Success == nil && t.Failure == nil && success+failure > 0 {
		ops := make([]Op, success+failure)
		t.Success, t.Failure = ops[:0:success], ops[success:success]
	}
}

func (d *decoder) op(o *Op, b []byte, depth int) bool {
	if depth--; depth < 0 {
		return false
	}
	for len(b) > 0 {
		tag, n := field(b)
		if n == 0 {
			return false
		}
		b = b[n:]
		var v []byte
		// The operation named last stands. Named again it is merged with itself, and starts anew only if
		// another stood between.
		switch tag {
		case 1<<3 | wireBytes, 2<<3 | wireBytes, 3<<3 | wireBytes, 4<<3 | wireBytes:
			if v, n = span(b); n == 0 || depth == 0 || !d.operation(o, int(tag>>3), v, depth) {
				return false
			}
		default:
			if n = d.skip(tag, b); n == 0 {
				return false
			}
		}
		b = b[n:]
	}
	return true
}

func (d *decoder) operation(o *Op, number int, b []byte, depth int) bool {
	switch number {
	case 1:
		r := o.Range
		if r == nil {
			r = new(Range)
		}
		*o = Op{Range: r}
		return d.rng(r, b)
	case 2:
		p := o.Put
		if p == nil {
			p = new(Put)
		}
		*o = Op{Put: p}
		return d.put(p, b)
	case 3:
		r := o.Delete
		if r == nil {
			r = new(DeleteRange)
		}
		*o = Op{Delete: r}
		return d.deleteRange(r, b)
	default:
		t := o.Txn
		if t == nil {
			t = new(Txn)
		}
		*o = Op{Txn: t}
		return d.txn(t, b, depth)
	}
}

// The fields of a compare's operand, by target.
var operands = [...]uint64{CompareVersion: 4, CompareCreate: 5, CompareMod: 6, CompareValue: 7, CompareLease: 8}

func (d *decoder) compare(c *Compare, b []byte, depth int) bool {
	if depth--; depth < 0 {
		return false
	}
	var key, end []byte
	var operand uint64 // the field of the operand, 0 without one
	for len(b) > 0 {
		tag, n := field(b)
		if n == 0 {
			return false
		}
		b = b[n:]
		var v uint64
		switch tag {
		case 1<<3 | wireVarint:
			v, n = varint(b)
			c.Result = CompareResult(v)
		case 2<<3 | wireVarint:
			v, n = varint(b)
			c.Target = CompareTarget(v)
		case 3<<3 | wireBytes:
			key, n = span(b)
		case 4<<3 | wireVarint, 5<<3 | wireVarint, 6<<3 | wireVarint, 8<<3 | wireVarint:
			v, n = varint(b)
			c.Number, c.Value, operand = int64(v), nil, tag>>3
		case 7<<3 | wireBytes:
			c.Value, n = span(b)
			c.Number, operand = 0, 7
		case 64<<3 | wireBytes:
			end, n = span(b)
		default:
			n = d.skip(tag, b)
		}
		if n == 0 {
			return false
		}
		b = b[n:]
	}
	c.Interval = NewInterval(key, end)
	// An operand of another target's kind is none: the compare is against 0 or the empty value.
	if operand != 0 && (c.Target < 0 || int(c.Target) >= len(operands) || operands[c.Target] != operand) {
		c.Number, c.Value = 0, nil
		d.lossy = true
	}
	return true
}
