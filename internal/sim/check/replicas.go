package check

import (
	"fmt"
	"slices"

	"holdfast/internal/kind"
)

// Replicas holds the laws of the machine (M1 to M4) over all members and all their lives:
//
//   - after the same entry every machine is the same: term, digest, revisions, cluster time, counts;
//   - from one entry to a later one, term, revision, compacted revision and cluster time never fall, and the revision stays
//     at or above the compacted one;
//   - within one life a member's applied and committed positions never fall, and it applies only what is committed;
//   - at the end all members that live hold the same keys, leases and users, and each one's counts are those of what it holds;
//   - the hash of the keys at a revision is the same on all.
type Replicas struct{}

// Name returns "replicas".
func (Replicas) Name() string { return "replicas" }

// machineAt is what must be the same on every member after the same entry.
type machineAt struct {
	Term                kind.Term
	Revision, Compacted kind.Revision
	Digest, Elapsed     uint64
	Version             uint32
	Keys, Bytes, Rows   int64
}

func machineOf(a *Applied) machineAt {
	return machineAt{a.Position.Term, a.Revision, a.Compacted, a.Digest, a.Elapsed, a.MachineVersion, a.LiveKeys, a.LiveBytes, a.Versions}
}

// Judge compares all that was seen of the machines.
func (c Replicas) Judge(h *History) Verdict {
	v := Verdict{Checker: c.Name()}
	var all []*Applied
	for i := range h.Applied {
		all = append(all, &h.Applied[i])
	}
	for i := range h.Finals {
		all = append(all, &h.Finals[i].Applied)
	}
	c.lives(&v, h.Applied)
	at := map[kind.Index]*Applied{}
	var order []*Applied
	for _, a := range all {
		v.Judged++
		other := at[a.Position.Index]
		switch {
		case other == nil:
			at[a.Position.Index] = a
			order = append(order, a)
		case machineOf(other) != machineOf(a):
			v.violate("after entry %d member %v is %+v and member %v is %+v", a.Position.Index, other.Member, machineOf(other), a.Member, machineOf(a))
		}
	}
	slices.SortFunc(order, func(a, b *Applied) int {
		if a.Position.Index < b.Position.Index {
			return -1
		}
		return 1
	})
	for i, a := range order {
		if a.Revision < a.Compacted {
			v.violate("after entry %d member %v is at revision %d, compacted at %d", a.Position.Index, a.Member, a.Revision, a.Compacted)
		}
		if i == 0 {
			continue
		}
		b := order[i-1]
		if a.Position.Term < b.Position.Term || a.Revision < b.Revision || a.Compacted < b.Compacted || a.Elapsed < b.Elapsed || a.MachineVersion < b.MachineVersion {
			v.violate("from entry %d to %d something falls: %+v, then %+v", b.Position.Index, a.Position.Index, machineOf(b), machineOf(a))
		}
	}
	c.finals(&v, h)
	c.hashes(&v, h)
	return v
}

// lives holds what each member promises while it lives.
func (Replicas) lives(v *Verdict, seen []Applied) {
	type life struct {
		member kind.MemberID
		number int
	}
	last := map[life]*Applied{}
	for i := range seen {
		a := &seen[i]
		l := life{a.Member, a.Life}
		if b := last[l]; b != nil {
			if a.Position.Index < b.Position.Index || a.Commit < b.Commit || a.Term < b.Term {
				v.violate("member %v goes back within its life %d: applied %v, committed %d, term %d, then applied %v, committed %d, term %d",
					a.Member, a.Life, b.Position, b.Commit, b.Term, a.Position, a.Commit, a.Term)
			}
		}
		if a.Commit != 0 && a.Commit < a.Position.Index {
			v.violate("member %v has applied entry %d, but knows as committed only %d", a.Member, a.Position.Index, a.Commit)
		}
		last[l] = a
	}
}

// finals holds the members at the end against each other and each against itself.
func (Replicas) finals(v *Verdict, h *History) {
	for i := range h.Finals {
		f := &h.Finals[i]
		v.Judged++
		if why := f.sound(); why != "" {
			v.violate("member %v ends unsound: %s", f.Member, why)
		}
		if i == 0 || f.Revision != h.Finals[0].Revision {
			continue
		}
		o := &h.Finals[0]
		switch {
		case !slices.Equal(f.Live, o.Live):
			v.violate("members %v and %v end at revision %d with different keys: %s", o.Member, f.Member, f.Revision, difference(o.Live, f.Live))
		case f.Position == o.Position && f.Hash != o.Hash:
			v.violate("members %v and %v end at revision %d with hashes %x and %x", o.Member, f.Member, f.Revision, o.Hash, f.Hash)
		case f.Position == o.Position && !slices.EqualFunc(f.Leases, o.Leases, sameLease):
			v.violate("members %v and %v end with different leases: %v, %v", o.Member, f.Member, o.Leases, f.Leases)
		case f.Position == o.Position && f.Users != o.Users:
			v.violate("members %v and %v end with different users: %q, %q", o.Member, f.Member, o.Users, f.Users)
		}
	}
}

func sameLease(a, b FinalLease) bool {
	return a.ID == b.ID && a.TTL == b.TTL && a.Deadline == b.Deadline && slices.Equal(a.Keys, b.Keys)
}

func difference(a, b []KV) string {
	for i := range max(len(a), len(b)) {
		switch {
		case i >= len(a):
			return "nothing, " + b[i].String()
		case i >= len(b):
			return a[i].String() + ", nothing"
		case a[i] != b[i]:
			return a[i].String() + ", " + b[i].String()
		}
	}
	return "none"
}

// sound says what is wrong with what one member holds, or nothing.
func (f *Final) sound() string {
	leases := map[kind.LeaseID]map[string]bool{}
	for _, l := range f.Leases {
		leases[l.ID] = map[string]bool{}
		for _, key := range l.Keys {
			leases[l.ID][key] = true
		}
	}
	var bytes int64
	for i := range f.Live {
		kv := &f.Live[i]
		bytes += int64(len(kv.Key) + len(kv.Value))
		switch {
		case i > 0 && kv.Key <= f.Live[i-1].Key:
			return fmt.Sprintf("key %q comes after %q", kv.Key, f.Live[i-1].Key)
		case kv.CreateRevision < 2 || kv.CreateRevision > kv.ModRevision || kv.ModRevision > f.Revision:
			return fmt.Sprintf("%v at revision %d", kv, f.Revision)
		case kv.Version < 1 || kv.Version > int64(kv.ModRevision-kv.CreateRevision)+1:
			return fmt.Sprintf("%v has more versions than revisions", kv)
		case kv.Lease != 0 && f.Leases != nil && !leases[kv.Lease][kv.Key]:
			return fmt.Sprintf("%v hangs on a lease that does not know of it", kv)
		}
		delete(leases[kv.Lease], kv.Key)
	}
	for id, keys := range leases {
		for key := range keys {
			return fmt.Sprintf("lease %v holds key %q, which does not hang on it", id, key)
		}
	}
	if f.LiveKeys != 0 && f.LiveKeys != int64(len(f.Live)) {
		return fmt.Sprintf("it counts %d keys and holds %d", f.LiveKeys, len(f.Live))
	}
	return ""
}

// hashes holds that HashKV of one revision is one number.
func (Replicas) hashes(v *Verdict, h *History) {
	type state struct{ revision, compacted kind.Revision }
	seen := map[state]*Operation{}
	for i := range h.Operations {
		o := &h.Operations[i]
		if o.HashKV == nil || o.Outcome != Done {
			continue
		}
		v.Judged++
		at := state{o.HashKV.Revision, o.HashKV.Result.Compacted}
		if at.revision == 0 {
			at.revision = o.HashKV.Result.Revision
		}
		if other := seen[at]; other != nil && other.HashKV.Result.Hash != o.HashKV.Result.Hash {
			v.violate("members %v and %v answer different hashes at revision %d: %x and %x", other.Member, o.Member, at.revision,
				other.HashKV.Result.Hash, o.HashKV.Result.Hash)
		}
		seen[at] = o
	}
}
