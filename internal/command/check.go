package command

// Check refuses a put that names no key, or keeps the value or the lease and brings one: ErrEmptyKey,
// ErrValueProvided, ErrLeaseProvided, the first that applies.
func (p *Put) Check() error {
	switch {
	case len(p.Key) == 0:
		return ErrEmptyKey
	case p.IgnoreValue && len(p.Value) != 0:
		return ErrValueProvided
	case p.IgnoreLease && p.Lease != 0:
		return ErrLeaseProvided
	}
	return nil
}

// Check refuses a range that names no key (ErrEmptyKey) or an order that does not exist (ErrInvalidSortOption).
// Every limit and every revision is legal, the negative ones included.
func (r *Range) Check() error {
	switch {
	case len(r.Interval.Start) == 0:
		return ErrEmptyKey
	case r.Order < OrderNone || r.Order > OrderDescend, r.Target < TargetKey || r.Target > TargetValue:
		return ErrInvalidSortOption
	}
	return nil
}

// CheckStream is Check for a range that is answered by a stream, which cannot sort (ErrStreamSort) nor filter by
// revision (ErrStreamFilters).
func (r *Range) CheckStream() error {
	switch err := r.Check(); {
	case err != nil:
		return err
	case !r.KeyOrder():
		return ErrStreamSort
	case r.Filtered():
		return ErrStreamFilters
	}
	return nil
}

// KeyOrder reports whether r asks for the order in which keys lie anyway. A range without an order counts as
// such whatever its target is.
func (r *Range) KeyOrder() bool {
	return r.Order == OrderNone || r.Order == OrderAscend && r.Target == TargetKey
}

// Filtered reports whether r has one of the four bounds of revisions.
func (r *Range) Filtered() bool {
	return r.MinMod != 0 || r.MaxMod != 0 || r.MinCreate != 0 || r.MaxCreate != 0
}

// Check refuses a deletion that names no key.
func (r *DeleteRange) Check() error {
	if len(r.Interval.Start) == 0 {
		return ErrEmptyKey
	}
	return nil
}

// Check refuses a transaction that is malformed anywhere, in branches that would not be taken too: the size,
// then the compares, then the operations in order, then the keys that one branch would write twice. maxOps
// bounds the longest of a transaction's three lists, the transactions inside it having so much less as the one
// round them used.
func (t *Txn) Check(maxOps int) error {
	if err := t.check(maxOps); err != nil {
		return err
	}
	return t.checkOverlap()
}

func (t *Txn) check(maxOps int) error {
	size := max(len(t.Compares), len(t.Success), len(t.Failure))
	if size > maxOps {
		return ErrTooManyOps
	}
	for i := range t.Compares {
		if len(t.Compares[i].Interval.Start) == 0 {
			return ErrEmptyKey
		}
	}
	for _, branch := range [2][]Op{t.Success, t.Failure} {
		for i := range branch {
			if err := branch[i].check(maxOps - size); err != nil {
				return err
			}
		}
	}
	return nil
}

func (o *Op) check(maxOps int) error {
	switch {
	case o.Range != nil:
		return o.Range.Check()
	case o.Put != nil:
		return o.Put.Check()
	case o.Delete != nil:
		return o.Delete.Check()
	case o.Txn != nil:
		return o.Txn.check(maxOps)
	}
	return ErrKeyNotFound
}

// ReadOnly reports whether both branches only read, so that the transaction takes the read path. One that nests
// another counts as writing.
func (t *Txn) ReadOnly() bool { return onlyRanges(t.Success) && onlyRanges(t.Failure) }

// Serializable reports whether the member's own state will do for the whole transaction.
func (t *Txn) Serializable() bool { return serializable(t.Success) && serializable(t.Failure) }

func onlyRanges(branch []Op) bool {
	for i := range branch {
		if branch[i].Range == nil {
			return false
		}
	}
	return true
}

func serializable(branch []Op) bool {
	for i := range branch {
		if r := branch[i].Range; r == nil || !r.Serializable {
			return false
		}
	}
	return true
}
