package mvcc

import (
	"context"
	"errors"
	"math/rand"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"holdfast/internal/batch"
	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/store"
)

var testIdentity = kind.Identity{Cluster: 1, Member: 2, Incarnation: 3}

// world is a store under test: what the machine would do around it, in few lines.
type world struct {
	t       testing.TB
	fs      vfs.FS
	store   store.Options
	options Options
	db      *store.DB
	s       *Store
	b       *batch.Batch
	applied store.Applied
}

func newWorld(t testing.TB, fs vfs.FS, o Options) *world {
	t.Helper()
	genesis := func(set func(key, value []byte)) error {
		set(store.AppliedKey(), store.EncodeApplied(store.Applied{Revision: FirstRevision, Compacted: NeverCompacted}))
		return nil
	}
	if err := store.Create(fs, "db", testIdentity, genesis); err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, fs: fs, options: o}
	w.open()
	t.Cleanup(func() {
		if w.db != nil {
			w.close(false)
		}
	})
	return w
}

func (w *world) open() {
	w.t.Helper()
	var err error
	if w.db, err = store.Open(w.fs, "db", testIdentity, w.store); err != nil {
		w.t.Fatal(err)
	}
	if w.s, err = Open(w.db, w.options); err != nil {
		w.t.Fatal(err)
	}
	if w.applied, err = w.db.Applied(); err != nil {
		w.t.Fatal(err)
	}
	w.b = batch.New(w.db)
}

func (w *world) close(flush bool) {
	w.t.Helper()
	if w.s.writer != nil {
		w.s.writer.Discard()
	}
	if err := errors.Join(w.b.Close(), w.db.Close(flush)); err != nil {
		w.t.Fatal(err)
	}
	w.db = nil
}

// commit writes the applied record, commits and publishes.
func (w *world) commit(wr *Writer) {
	w.t.Helper()
	w.applied.Position.Index++
	w.record(wr)
	if err := w.b.Commit(); err != nil {
		w.t.Fatal(err)
	}
	w.s.Publish(wr)
}

func (w *world) record(wr *Writer) {
	wr.Fill(&w.applied)
	w.b.Set(store.AppliedKey(), store.EncodeApplied(w.applied))
}

// put writes one key in a batch of its own.
func (w *world) put(key, value string) {
	w.t.Helper()
	wr := w.s.Begin(w.b, nil)
	wr.BeginCommand()
	wr.Put([]byte(key), []byte(value), 0)
	wr.EndCommand()
	w.commit(wr)
}

// do runs one command in a batch of its own.
func (w *world) do(command func(*Writer)) Changes {
	w.t.Helper()
	wr := w.s.Begin(w.b, nil)
	wr.BeginCommand()
	command(wr)
	wr.EndCommand()
	w.commit(wr)
	return wr.Changes()
}

// compact runs a compaction to rev, without its deleting.
func (w *world) compact(rev kind.Revision) {
	w.t.Helper()
	w.do(func(wr *Writer) {
		if err := wr.Compact(rev); err != nil {
			w.t.Fatal(err)
		}
	})
}

// deleteAll runs the deleting to its end.
func (w *world) deleteAll() {
	w.t.Helper()
	for done := false; !done; {
		var err error
		if done, err = w.s.CompactStep(); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) check() {
	w.t.Helper()
	if err := w.s.Check(context.Background(), func(p string) { w.t.Errorf("check: %s", p) }); err != nil {
		w.t.Fatal(err)
	}
	if w.t.Failed() {
		w.t.FailNow()
	}
}

func decodeAnswer(t testing.TB, a Answer) *etcdserverpb.RangeResponse {
	t.Helper()
	var r etcdserverpb.RangeResponse
	if err := proto.Unmarshal(a.Body, &r); err != nil {
		t.Fatal(err)
	}
	if int64(len(r.Kvs)) != int64(a.Kvs) || r.Count != a.Count || r.More != a.More {
		t.Fatalf("the fields of an answer (%d, %d, %v) are not those of its body (%d, %d, %v)", a.Kvs, a.Count, a.More, len(r.Kvs), r.Count, r.More)
	}
	return &r
}

// same fails unless an answer is what the model says.
func same(t testing.TB, r command.Range, got Answer, err error, want *etcdserverpb.RangeResponse, wantErr error) {
	t.Helper()
	if !errors.Is(err, wantErr) {
		t.Fatalf("%+v: error %v, want %v", r, err, wantErr)
	}
	if err != nil {
		return
	}
	defer got.Release()
	if have := decodeAnswer(t, got); !proto.Equal(have, want) {
		t.Fatalf("%+v:\nhave %v\nwant %v", r, have, want)
	}
}

// play runs one random batch on world and model alike, comparing what commands see, and returns the number of
// events.
func (w *world) play(r *rand.Rand, m *model) {
	w.t.Helper()
	wr := w.s.Begin(w.b, nil)
	from := m.revision
	for range 1 + r.Intn(5) {
		wr.BeginCommand()
		changed := false
		head := func() kind.Revision {
			if changed {
				return m.revision + 1
			}
			return m.revision
		}
		for range 1 + r.Intn(4) {
			switch r.Intn(8) {
			case 0, 1, 2, 3:
				key, value, lease := randomKey(r), make([]byte, r.Intn(12)), kind.LeaseID(r.Intn(3)*r.Intn(1<<30))
				r.Read(value)
				prev := wr.Put(key, value, lease)
				f, ok := m.at(string(key), head())
				if prev.Exists() != ok || ok && (prev.Mod != f.rev || string(prev.Value()) != f.value || prev.Lease != f.lease || prev.Version != f.version || prev.Create != f.create) {
					w.t.Fatalf("put %q: previous %+v, want %+v (%v)", key, prev, f, ok)
				}
				m.put(string(key), string(value), lease)
				changed = true
			case 4, 5:
				iv := randomInterval(r)
				if r.Intn(2) == 0 {
					iv = command.NewInterval(randomKey(r), nil)
				}
				want := m.remove(iv)
				told := int64(0)
				o := DeleteOptions{Prev: func(Row) { told++ }, Full: func([]byte) { w.record(wr); w.b.Spill() }}
				if got := wr.DeleteRange(iv, o); got != want || told != want {
					w.t.Fatalf("delete %+v: %d (%d told), want %d", iv, got, told, want)
				}
				changed = changed || want > 0
			case 6:
				q := randomRange(r, m.revision)
				a, err := wr.Range(q)
				want, wantErr := m.answer(q, head())
				same(w.t, q, a, err, want, wantErr)
			case 7:
				rev := m.revision - kind.Revision(r.Intn(8)-1)
				want := error(nil)
				if rev <= m.compacted {
					want = ErrCompacted
				} else if rev > head() {
					want = ErrFutureRevision
				} else if r.Intn(4) > 0 {
					continue
				} else {
					m.compacted = rev
				}
				if err := wr.Compact(rev); !errors.Is(err, want) {
					w.t.Fatalf("compact %d: %v, want %v", rev, err, want)
				}
			}
		}
		if wr.EndCommand() != changed {
			w.t.Fatalf("a command changed something: %v, want %v", !changed, changed)
		}
		if changed {
			m.revision++
		}
	}
	w.commit(wr)
	if c := wr.Changes(); c.Last != m.revision || w.s.Revision() != m.revision {
		w.t.Fatalf("revision %d and %d, want %d", c.Last, w.s.Revision(), m.revision)
	} else {
		checkChanges(w.t, c, from)
	}
}

// checkChanges holds M4: events in order of (revision, sub), without a gap.
func checkChanges(t testing.TB, c Changes, from kind.Revision) {
	t.Helper()
	rev, sub := from, uint32(0)
	for _, e := range c.Events {
		switch {
		case e.Revision == rev && e.Sub == sub:
		case e.Revision == rev+1 && e.Sub == 0:
		default:
			t.Fatalf("event %d of revision %d after %d of %d", e.Sub, e.Revision, sub, rev)
		}
		rev, sub = e.Revision, e.Sub+1
		if e.Row.Mod != rev || c.Unlisted != 0 && e.Revision >= c.Unlisted {
			t.Fatalf("event %+v does not belong into %d", e, c.Unlisted)
		}
	}
	if c.Unlisted == 0 && rev != c.Last || c.Unlisted != 0 && rev != c.Unlisted-1 {
		t.Fatalf("the events end at %d, the batch at %d, unlisted from %d", rev, c.Last, c.Unlisted)
	}
}

// ask compares a few random reads of every kind with the model.
func (w *world) ask(r *rand.Rand, m *model, n int) {
	w.t.Helper()
	ctx := context.Background()
	v, err := w.s.View()
	if err != nil {
		w.t.Fatal(err)
	}
	defer v.Close()
	for range n {
		q := randomRange(r, m.revision)
		want, wantErr := m.answer(q, m.revision)
		switch r.Intn(3) {
		case 0:
			a, err := w.s.Range(ctx, q)
			same(w.t, q, a, err, want, wantErr)
		case 1:
			a, err := v.Range(ctx, q)
			same(w.t, q, a, err, want, wantErr)
		default:
			if q.Order == command.OrderDescend || q.Target != command.TargetKey || q.MinMod != 0 || q.MaxMod != 0 || q.MinCreate != 0 || q.MaxCreate != 0 {
				continue
			}
			got := &etcdserverpb.RangeResponse{}
			last := false
			err := v.RangeStream(ctx, q, 64, func(a Answer) error {
				defer a.Release()
				if last {
					w.t.Fatalf("%+v: a chunk after the last", q)
				}
				last = a.Revision != 0
				c := decodeAnswer(w.t, a)
				got.Kvs = append(got.Kvs, c.Kvs...)
				got.Count, got.More = c.Count, c.More
				return nil
			})
			if !errors.Is(err, wantErr) {
				w.t.Fatalf("%+v: error %v, want %v", q, err, wantErr)
			}
			if err == nil && (!last || !proto.Equal(got, want)) {
				w.t.Fatalf("stream %+v:\nhave %v\nwant %v", q, got, want)
			}
		}
	}
}
