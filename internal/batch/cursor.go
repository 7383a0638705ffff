package batch

import "holdfast/internal/store"

// seekGE places the cursor at the first record at or after key within the bounds.
func (c *cursor) seekGE(o *overlay, key, lower, upper []byte) {
	if len(lower) > 0 && (len(key) == 0 || store.Compare(key, lower) < 0) {
		key = lower
	}
	from := firstFamily(key)
	c.f = o.next(c.data, from, lastFamily(upper))
	if c.f == nil {
		return
	}
	c.at = 0
	if int(c.f.first) == from {
		c.at, _ = c.f.find(c.data, key)
	}
	c.ascend(o, upper)
}

// seekLT places the cursor at the last record before key within the bounds. A nil key stands for the end.
func (c *cursor) seekLT(o *overlay, key, lower, upper []byte) {
	if len(upper) > 0 && (len(key) == 0 || store.Compare(upper, key) < 0) {
		key = upper
	}
	to := lastFamily(key)
	c.f = o.previous(c.data, firstFamily(lower), to)
	if c.f == nil {
		return
	}
	c.at = len(c.f.sorted) - 1
	if int(c.f.first) == to && len(key) > 0 {
		c.at, _ = c.f.find(c.data, key)
		c.at--
	}
	c.descend(o, lower)
}

// seekLE places the cursor at the last record at or before key, which lies within the bounds.
func (c *cursor) seekLE(o *overlay, key, lower, upper []byte) {
	if f := o.family(c.data, key[0]); f != nil {
		if i, found := f.find(c.data, key); found {
			c.f, c.at = f, i
			c.take()
			return
		}
	}
	c.seekLT(o, key, lower, upper)
}

// next goes one record up, up to the bound.
func (c *cursor) next(o *overlay, upper []byte) {
	c.at++
	c.ascend(o, upper)
}

// prev goes one record down, down to the bound.
func (c *cursor) prev(o *overlay, lower []byte) {
	c.at--
	c.descend(o, lower)
}

// ascend goes on to the next family if the cursor is behind the end of its own, and takes the record there.
func (c *cursor) ascend(o *overlay, upper []byte) {
	for c.at >= len(c.f.sorted) {
		if c.f = o.next(c.data, int(c.f.first)+1, lastFamily(upper)); c.f == nil {
			return
		}
		c.at = 0
	}
	c.take()
	if len(upper) > 0 && store.Compare(c.key, upper) >= 0 {
		c.f = nil
	}
}

// descend goes on to the family before if the cursor is before the start of its own, and takes the record there.
func (c *cursor) descend(o *overlay, lower []byte) {
	for c.at < 0 {
		if c.f = o.previous(c.data, firstFamily(lower), int(c.f.first)-1); c.f == nil {
			return
		}
		c.at = len(c.f.sorted) - 1
	}
	c.take()
	if len(lower) > 0 && store.Compare(c.key, lower) < 0 {
		c.f = nil
	}
}

// take reads the record under the cursor.
func (c *cursor) take() {
	c.rec = c.f.sorted[c.at]
	c.key = c.rec.key(c.data)
}

// familyOf returns the first byte of a key that is stored, and -1 for a bare suffix, which comes before all of them.
func familyOf(key []byte) int {
	if store.Split(key) == 0 {
		return -1
	}
	return int(key[0])
}

// firstFamily returns the lowest first byte that a key at or above lower can have.
func firstFamily(lower []byte) int { return familyOf(lower) }

// lastFamily returns the highest first byte that a key below upper can have.
func lastFamily(upper []byte) int {
	if len(upper) == 0 {
		return 255
	}
	return familyOf(upper)
}
