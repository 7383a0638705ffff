package lease

import "holdfast/internal/kind"

// due says that the lease in a slot has to be looked at from a time on.
type due struct {
	time uint64
	slot uint32
}

// order is a heap of four branches by time. A renewal does not touch it: the lease stays where its old deadline has
// put it, and moves when that has come (L4). Thus a keep-alive costs nothing here, and a lease that is kept alive moves
// once in its TTL, however often it is renewed.
type order []due

const branches = 4

// arrange makes a heap of what is there in any order.
func (o order) arrange(slots []slot) {
	for i := len(o)/branches + 1; i >= 0; i-- {
		if i < len(o) {
			o.down(slots, uint32(i))
		}
	}
	for i := range o {
		slots[o[i].slot].at = uint32(i)
	}
}

func (o *order) push(slots []slot, d due) {
	*o = append(*o, d)
	o.up(slots, uint32(len(*o)-1))
}

// remove takes out what stands at a place.
func (o *order) remove(slots []slot, at uint32) {
	last := uint32(len(*o) - 1)
	moved := (*o)[last]
	*o = (*o)[:last]
	if at == last {
		return
	}
	(*o)[at] = moved
	slots[moved.slot].at = at
	o.up(slots, at)
	o.down(slots, slots[moved.slot].at)
}

func (o order) up(slots []slot, at uint32) {
	d := o[at]
	for at > 0 {
		parent := (at - 1) / branches
		if o[parent].time <= d.time {
			break
		}
		o[at] = o[parent]
		slots[o[at].slot].at = at
		at = parent
	}
	o[at] = d
	slots[d.slot].at = at
}

func (o order) down(slots []slot, at uint32) {
	d := o[at]
	for {
		first := int(at)*branches + 1
		if first >= len(o) {
			break
		}
		least := first
		for i := first + 1; i < min(first+branches, len(o)); i++ {
			if o[i].time < o[least].time {
				least = i
			}
		}
		if o[least].time >= d.time {
			break
		}
		o[at] = o[least]
		slots[o[at].slot].at = at
		at = uint32(least)
	}
	o[at] = d
	slots[d.slot].at = at
}

// RetryAfter is how long, in nanoseconds of cluster time, Due does not name a lease again that it has named. No TTL is
// shorter.
const RetryAfter = NanosPerSecond / 2

// dueSteps bounds how long one call of Due holds the lock.
const dueSteps = 1 << 12

// Due returns leases whose deadline has come at the time now, at most most of them, those first that have waited
// longest. A lease that it has named is named again after RetryAfter, if it is still there and due. more says that
// there may be others.
func (t *Table) Due(now uint64, most int) (ids []kind.LeaseID, more bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	o, slots := t.mu.order, t.mu.slots
	for range dueSteps {
		if len(o) == 0 || o[0].time > now {
			return ids, false
		}
		if len(ids) == most {
			break
		}
		l := &slots[o[0].slot]
		if l.Deadline > now {
			o[0].time = l.Deadline
		} else {
			ids = append(ids, l.ID)
			o[0].time = now + RetryAfter
		}
		o.down(slots, 0)
	}
	return ids, true
}

// Next returns a time before which no lease is due, and whether there is any lease.
func (t *Table) Next() (time uint64, any bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if len(t.mu.order) == 0 {
		return 0, false
	}
	return t.mu.order[0].time, true
}
