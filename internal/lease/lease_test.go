package lease

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/internal/batch"
	"holdfast/internal/kind"
	"holdfast/internal/store"
)

var writeGolden = flag.Bool("write-golden", false, "make the golden file of this format version where there is none yet")

var identity = kind.Identity{Cluster: 1, Member: 2, Incarnation: 3}

func createStore(t testing.TB, fs vfs.FS) *store.DB {
	t.Helper()
	if err := store.Create(fs, "store", identity, nil); err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(fs, "store", identity, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// rig is a table with a batch over its store.
type rig struct {
	t  testing.TB
	db *store.DB
	b  *batch.Batch
	*Table
}

func newRig(t testing.TB) *rig {
	r := &rig{t: t, db: createStore(t, vfs.NewMem())}
	r.b = batch.New(r.db)
	t.Cleanup(func() {
		if err := errors.Join(r.b.Close(), r.db.Close(false)); err != nil {
			t.Error(err)
		}
	})
	r.open()
	return r
}

func (r *rig) open() {
	r.t.Helper()
	var err error
	if r.Table, err = Open(r.db); err != nil {
		r.t.Fatal(err)
	}
}

// change runs do in a batch and publishes it.
func (r *rig) change(do func(w *Writer)) {
	r.t.Helper()
	w := r.Begin(r.b)
	do(w)
	if err := r.b.Commit(); err != nil {
		r.t.Fatal(err)
	}
	r.Publish(w)
}

// golden are records whose bytes stay what they are for ever.
func golden() string {
	var b strings.Builder
	line := func(key, value []byte) { fmt.Fprintf(&b, "%x = %x\n%s\n", key, value, Describe(key, value)) }
	for _, l := range []Lease{{1, 1, 0}, {7587862094592573193, 60, 61_500_000_000}, {-1, MaxTTL, 1<<64 - 1}, {-1 << 63, 2, 3}} {
		line(appendLeaseKey(nil, l.ID), Encode(l))
	}
	line(appendAttachment(nil, 5, []byte("key")), nil)
	line(appendAttachment(nil, -2, []byte{0}), nil)
	return b.String()
}

// The records have the bytes that the golden file has, which is never written again.
func TestGolden(t *testing.T) {
	const path = "testdata/records-1.txt"
	if _, err := os.Stat(path); *writeGolden && errors.Is(err, os.ErrNotExist) {
		if err := os.WriteFile(path, []byte(golden()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := golden(); got != string(want) {
		t.Errorf("the records are\n%s", got)
	}
	for line := range strings.Lines(string(want)) {
		key, value, is := strings.Cut(strings.TrimSpace(line), " = ")
		if !is || !strings.HasPrefix(key, "6c67") {
			continue
		}
		k, _ := hex.DecodeString(key)
		v, _ := hex.DecodeString(value)
		id := kind.LeaseID(binary.BigEndian.Uint64(k[2:]))
		l, err := Decode(id, v)
		if err != nil || !bytes.Equal(Encode(l), v) {
			t.Errorf("%s: %+v, %v", line, l, err)
		}
		// A flipped bit, a byte too few or too many, another version: refused.
		for i := range len(v) * 8 {
			broken := bytes.Clone(v)
			broken[i/8] ^= 1 << (i % 8)
			if _, err := Decode(id, broken); !errors.Is(err, ErrRecord) {
				t.Errorf("bit %d flipped: %v", i, err)
			}
		}
		for _, broken := range [][]byte{nil, v[:len(v)-1], append(bytes.Clone(v), 0)} {
			if _, err := Decode(id, broken); !errors.Is(err, ErrRecord) {
				t.Errorf("%x: %v", broken, err)
			}
		}
	}
}

// FuzzDecode: no bytes make the decoder panic, and what it accepts is what Encode writes.
func FuzzDecode(f *testing.F) {
	f.Add(Encode(Lease{1, 60, 99}))
	f.Add([]byte{})
	f.Add([]byte{2, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := Decode(1, b)
		if err == nil && !bytes.Equal(Encode(l), b) {
			t.Errorf("%x is read as %+v", b, l)
		}
		Describe(append([]byte{store.FamilyLease}, b...), b)
	})
}

// Damage in a record keeps the table from opening, rather than being served.
func TestOpenDamaged(t *testing.T) {
	for name, damage := range map[string]func(b *batch.Batch){
		"a short record": func(b *batch.Batch) { b.Set(appendLeaseKey(nil, 5), Encode(Lease{5, 6, 7})[:9]) },
		"a strange key":  func(b *batch.Batch) { b.Set([]byte{store.FamilyLease, partLease, 1, 0}, Encode(Lease{5, 6, 7})) },
		"no TTL":         func(b *batch.Batch) { b.Set(appendLeaseKey(nil, 5), Encode(Lease{5, 0, 7})) },
	} {
		r := newRig(t)
		damage(r.b)
		if err := r.b.Commit(); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(r.db); !errors.Is(err, ErrRecord) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// checkOrder holds L4 and the shape of the heap.
func (r *rig) checkOrder() {
	r.t.Helper()
	if len(r.mu.order) != len(r.mu.index) {
		r.t.Fatalf("%d places for %d leases", len(r.mu.order), len(r.mu.index))
	}
	for i, d := range r.mu.order {
		s := r.mu.slots[d.slot]
		if s.at != uint32(i) || i > 0 && r.mu.order[(i-1)/branches].time > d.time || r.mu.index[s.ID] != d.slot {
			r.t.Fatalf("place %d: %+v of %+v", i, d, s)
		}
	}
}

// Due names a lease that is due at once, never one that is not, and each again only after a while; whatever was granted,
// renewed and removed before, and after an opening.
func TestDue(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 5))
		r := newRig(t)
		model := map[kind.LeaseID]Lease{}
		named := map[kind.LeaseID]uint64{}
		now := uint64(0)
		for step := range 300 {
			now += random.Uint64N(NanosPerSecond)
			r.change(func(w *Writer) {
				for range random.IntN(6) {
					id := kind.LeaseID(random.IntN(40) - 20)
					l, exists := w.Get(id)
					if have, known := model[id]; known != exists || exists && have != l {
						t.Fatalf("seed %d step %d: lease %v is %+v, %v, want %+v", seed, step, id, l, exists, have)
					}
					switch {
					case id == 0:
					case !exists:
						model[id] = w.Grant(id, 1+random.Int64N(9), now)
					case random.IntN(3) == 0:
						w.Remove(id, false)
						delete(model, id)
						delete(named, id)
					default:
						model[id], _ = w.Renew(id, now)
						delete(named, id)
					}
				}
			})
			if random.IntN(40) == 0 {
				r.open()
				clear(named)
			}
			r.checkOrder()
			if random.IntN(3) > 0 {
				continue
			}
			var ids []kind.LeaseID
			for more := true; more; {
				var some []kind.LeaseID
				some, more = r.Due(now, 1+random.IntN(3))
				ids = append(ids, some...)
			}
			for _, id := range ids {
				if model[id].Deadline > now || model[id].ID == 0 {
					t.Fatalf("seed %d step %d: at %d %+v is due", seed, step, now, model[id])
				}
				if at, again := named[id]; again && now < at+RetryAfter {
					t.Fatalf("seed %d step %d: lease %v is named again after %d", seed, step, id, now-at)
				}
				named[id] = now
			}
			for id, l := range model {
				if at, was := named[id]; l.Deadline <= now && !slices.Contains(ids, id) && (!was || now >= at+RetryAfter) {
					t.Fatalf("seed %d step %d: at %d %+v is not due", seed, step, now, l)
				}
			}
			if next, any := r.Next(); any && next <= now {
				t.Fatalf("something is due next at %d, now is %d", next, now)
			}
			r.checkOrder()
		}
		all := r.All()
		if len(all) != len(model) || r.Len() != len(model) || !slices.IsSortedFunc(all, func(a, b Lease) int { return compare(a.Deadline, b.Deadline) }) {
			t.Errorf("seed %d: %d leases, want %d, in order of deadline", seed, len(all), len(model))
		}
	}
}

// The keys of a lease come in order, those of its neighbours do not come, and keys with zero bytes are told apart.
func TestKeys(t *testing.T) {
	r := newRig(t)
	want := []string{"\x00", "\x00\x00", "a", "a\x00", "a\x00b", "a\x01", "\xff\xff"}
	r.change(func(w *Writer) {
		for _, id := range []kind.LeaseID{-1, 4, 5, 6} {
			w.Grant(id, 1, 0)
		}
		for _, i := range rand.Perm(len(want)) {
			w.Attach(5, []byte(want[i]))
			w.Attach(-1, []byte(want[i]))
		}
		w.Attach(4, []byte("\xff\xff"))
		w.Attach(6, []byte("\x00"))
		w.Attach(5, []byte("gone"))
		w.Detach(5, []byte("gone"))
		if keys := w.Keys(5, 3); len(keys) != 3 || string(keys[2]) != "a" {
			t.Errorf("in the batch: %q", keys)
		}
	})
	for _, id := range []kind.LeaseID{5, -1} {
		var got []string
		if err := r.Keys(id, func(key []byte) bool { got = append(got, string(key)); return true }); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("lease %v has %q", id, got)
		}
	}
	n := 0
	if err := r.Keys(5, func([]byte) bool { n++; return false }); err != nil || n != 1 {
		t.Errorf("%d keys after the first: %v", n, err)
	}
	count := 0
	if err := r.Attachments(func(kind.LeaseID, []byte) error { count++; return nil }); err != nil || count != 2*len(want)+2 {
		t.Errorf("%d attachments, %v", count, err)
	}
	if yes, err := r.Attached(5, []byte("gone")); yes || err != nil {
		t.Errorf("a detached key is attached, %v", err)
	}
	if yes, err := r.Attached(5, []byte("a\x00")); !yes || err != nil {
		t.Errorf("an attached key is not, %v", err)
	}
}

// Readers see nothing of a batch before it is published (L3), a discarded batch leaves nothing, and readers run beside
// the applier.
func TestReadersBesideWriter(t *testing.T) {
	r := newRig(t)
	w := r.Begin(r.b)
	w.Grant(1, 1, 0)
	if _, seen := r.Get(1); seen || r.Len() != 0 {
		t.Error("a lease is seen before its batch is published")
	}
	w.Discard()
	r.b.Reset()
	var readers sync.WaitGroup
	stop := make(chan struct{})
	for range 3 {
		readers.Go(func() {
			for now := uint64(0); ; now += NanosPerSecond {
				select {
				case <-stop:
					return
				default:
				}
				r.All()
				r.Get(3)
				r.Due(now, 5)
				r.Next()
			}
		})
	}
	for i := range uint64(300) {
		r.change(func(w *Writer) {
			for id := kind.LeaseID(1); id < 20; id++ {
				if _, exists := w.Get(id); !exists {
					w.Grant(id, 1, i)
				} else if (int(id)+int(i))%3 == 0 {
					w.Remove(id, true)
				} else {
					w.Renew(id, i)
				}
			}
		})
	}
	close(stop)
	readers.Wait()
	r.checkOrder()
	if c := r.Begin(r.b).Counts(); c != (Counts{}) {
		t.Errorf("a new writer begins with %+v", c)
	}
}
