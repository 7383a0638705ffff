package check

import (
	"hash/maphash"
	"slices"
	"sort"
	"strings"

	"holdfast/internal/kind"
)

// A state is what a store holds after some operations, as the model of Linearizable sees it. It is never changed: running
// an operation makes another.
//
// The revision of a write that was not answered is not known. Its rows carry a symbol, a negative number, in the place of
// the revision; as soon as an answer shows such a row, the symbol becomes the number that is shown, in all rows at once.
// What is known about a symbol until then is in its mark.
type state struct {
	at      int64 // the highest revision of an answer so far: the state is at least there
	pending int   // writes since then that were not answered: each needs a revision that nobody else was given
	rows    []row // the live keys, in order
	marks   []mark
	ended   []kind.LeaseID // leases that have ended
	hash    uint64
}

// row is one live key. create and mod may be symbols.
type row struct {
	key, value           string
	create, mod, version int64
	lease                kind.LeaseID
}

// mark bounds the number that a symbol stands for: above < number < below. A below of 0 says that nothing is known yet.
type mark struct{ symbol, above, below int64 }

var hashSeed = maphash.MakeSeed()

// finish drops the marks that no row needs and computes the hash.
func (s *state) finish() *state {
	s.marks = slices.DeleteFunc(s.marks, func(m mark) bool {
		return !slices.ContainsFunc(s.rows, func(r row) bool { return r.create == m.symbol || r.mod == m.symbol })
	})
	s.hash = uint64(s.at)*31 + uint64(s.pending)
	for _, r := range s.rows {
		s.hash = s.hash*1099511628211 ^ maphash.Comparable(hashSeed, r)
	}
	for _, id := range s.ended {
		s.hash = s.hash*1099511628211 ^ uint64(id)
	}
	return s
}

func (s *state) equal(o *state) bool {
	return s.hash == o.hash && s.at == o.at && s.pending == o.pending && slices.Equal(s.rows, o.rows) && slices.Equal(s.marks, o.marks) &&
		slices.Equal(s.ended, o.ended)
}

func (s *state) String() string {
	var parts []string
	for _, r := range s.rows {
		parts = append(parts, r.kv().String())
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

func (r row) kv() *KV {
	return &KV{Key: r.key, Value: r.value, CreateRevision: kind.Revision(r.create), ModRevision: kind.Revision(r.mod), Version: r.version, Lease: r.lease}
}

func find(rows []row, key string) (at int, found bool) {
	return sort.Find(len(rows), func(i int) int { return strings.Compare(key, rows[i].key) })
}

// claims are the revisions that writes are known to have: no other write has one of them. Those of the part that is being
// ordered come in their order, so that none of them may be passed over.
type claims struct {
	sorted []int64
	own    []int64
}

// passes reports whether going from one revision to another leaves out a write of the part.
func (c *claims) passes(from, to int64) bool {
	at, _ := slices.BinarySearch(c.own, from+1)
	return at < len(c.own) && c.own[at] <= to
}

func (c *claims) has(revision int64) bool {
	_, found := slices.BinarySearch(c.sorted, revision)
	return found
}

// free is how many revisions in (above, upTo] nobody has claimed.
func (c *claims) free(above, upTo int64) int {
	from, _ := slices.BinarySearch(c.sorted, above+1)
	to, _ := slices.BinarySearch(c.sorted, upTo+1)
	return int(upTo-above) - (to - from)
}

// step is an operation as the model runs it.
type step struct {
	op       *Operation
	answered bool
	known    int64        // of an operation without an answer: its revision, if something else shows it
	expires  kind.LeaseID // if not 0: not an operation, but the end of a lease
	symbol   int64
}

// run is one operation being run on a copy of a state. ok is false as soon as something contradicts the answer.
type run struct {
	before   *state
	rows     []row
	claims   *claims
	step     *step
	revision int64 // that a change is given
	header   int64 // of the answer; 0 if there is none
	changed  bool
	ok       bool
	meaning  map[int64]int64 // of symbols that the answer shows
	ended    []kind.LeaseID
}

// apply runs a step and returns the state after it, or nil if its answer is impossible in s.
func (s *state) apply(st *step, c *claims) *state {
	r := &run{before: s, rows: s.rows, claims: c, step: st, ok: true, ended: s.ended}
	switch {
	case st.answered:
		r.header = int64(st.op.revision())
		r.revision = r.header
	case st.known != 0:
		r.header, r.revision = st.known, st.known
	default:
		r.revision = st.symbol
	}
	if r.header != 0 && r.header < s.at {
		return nil
	}
	switch {
	case st.expires != 0:
		r.end(st.expires)
	case st.op.Range != nil:
		r.scan(st.op.Range, st.op.Range.Result)
	case st.op.Put != nil:
		r.put(st.op.Put, st.op.Put.Result)
	case st.op.Delete != nil:
		r.delete(st.op.Delete, st.op.Delete.Result)
	case st.op.Txn != nil:
		r.txn(st.op.Txn, st.op.Txn.Result)
	case st.op.Revoke != nil:
		r.end(st.op.Revoke.ID)
	case st.op.Grant != nil:
		// Only the grants of an id that is granted more than once are run: the lease is alive again.
		r.ended = slices.DeleteFunc(slices.Clone(r.ended), func(id kind.LeaseID) bool { return id == st.op.Grant.ID })
	}
	if !r.ok {
		return nil
	}
	return r.after()
}

// after is the state that the run leaves, if its revision is possible.
func (r *run) after() *state {
	s := r.before
	n := &state{at: s.at, pending: s.pending, rows: r.rows, marks: s.marks, ended: r.ended}
	if r.header == 0 {
		if !r.changed {
			if len(r.ended) == len(s.ended) {
				return s
			}
			return n.finish()
		}
		n.pending++
		n.marks = append(slices.Clip(s.marks), mark{r.step.symbol, s.at, 0})
		return n.finish()
	}
	last, below := r.header, r.header+1
	if r.changed {
		if r.header == s.at {
			return nil // A write has a revision of its own.
		}
		last, below = r.header-1, r.header
	}
	if r.claims.passes(s.at, last) || s.pending > 0 && r.claims.free(s.at, last) < s.pending {
		return nil
	}
	if !r.changed && !r.step.answered {
		return nil // It is known to have changed something, and here it would not.
	}
	n.at, n.pending = r.header, 0
	if len(s.marks) > 0 {
		n.marks = slices.Clone(s.marks)
		for i := range n.marks {
			if n.marks[i].below == 0 {
				n.marks[i].below = below
			}
		}
		n.resolve(r.meaning)
	}
	return n.finish()
}

// resolve puts the numbers in the place of the symbols that have been shown.
func (s *state) resolve(meaning map[int64]int64) {
	if len(meaning) == 0 {
		return
	}
	s.rows = slices.Clone(s.rows)
	for i := range s.rows {
		if m, shown := meaning[s.rows[i].create]; shown {
			s.rows[i].create = m
		}
		if m, shown := meaning[s.rows[i].mod]; shown {
			s.rows[i].mod = m
		}
	}
}
