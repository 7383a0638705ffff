package holdfast_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// A ledger is what some clients know of a member: every write that was acknowledged to them, and at most one write
// each whose answer has not come. Whatever happens to the member, it must afterwards hold
//
//	L1  every acknowledged write, with the revision, creation and version that follow from what was answered;
//	L2  of a write without an answer everything or nothing;
//	L3  no revision below one that a client has seen, and no compacted revision below an acknowledged one;
//	L4  nothing else.
//
// Each client writes keys of its own, so what its keys must be is known exactly.
type ledger struct {
	seed  uint64
	books []*book
}

// book is one client's part of the ledger.
type book struct {
	name string
	keys []string

	mu        sync.Mutex
	rng       *rand.Rand
	now       map[string]row // what was acknowledged
	after     map[string]row // what holds if the write under way is done; nil if there is none
	revision  int64          // the highest that was seen
	compacted int64          // the highest compaction that was acknowledged
	past      []moment       // some of what was, to be read again at its revision
	serial    int
	done      int // writes that were acknowledged
}

// row is what a key is to be. Revisions of 0 are those of a write that was not answered: not known.
type row struct {
	value                string
	create, mod, version int64
}

// moment is what a key was at a revision.
type moment struct {
	revision int64
	key      string
	row      row
	exists   bool
}

func newLedger(seed uint64, clients, keys int) *ledger {
	l := &ledger{seed: seed}
	for i := range clients {
		b := &book{
			name: fmt.Sprintf("book-%d/", i),
			rng:  rand.New(rand.NewPCG(seed, uint64(i))),
			now:  map[string]row{},
		}
		for k := range keys {
			b.keys = append(b.keys, fmt.Sprintf("%s%03d", b.name, k))
		}
		l.books = append(l.books, b)
	}
	return l
}

// copy returns the ledger as it is now. No write begins and no answer is noted meanwhile; then runs before they may.
func (l *ledger) copy(then func()) *ledger {
	c := &ledger{seed: l.seed}
	for _, b := range l.books {
		b.mu.Lock()
		defer b.mu.Unlock()
		c.books = append(c.books, &book{
			name: b.name, keys: b.keys, rng: rand.New(rand.NewPCG(1, 2)),
			now: maps.Clone(b.now), after: maps.Clone(b.after), revision: b.revision, compacted: b.compacted, past: slices.Clone(b.past),
		})
	}
	then()
	return c
}

// writes is the number of acknowledged writes.
func (l *ledger) writes() (done int) {
	for _, b := range l.books {
		b.mu.Lock()
		done += b.done
		b.mu.Unlock()
	}
	return done
}

// run lets all clients work until ctx ends. wrong is told of an answer that cannot be, and of an error while alive says
// that there is no reason for one.
func (l *ledger) run(ctx context.Context, connect func() (*clientv3.Client, error), alive func() bool, wrong func(error)) {
	var group sync.WaitGroup
	defer group.Wait()
	for _, b := range l.books {
		group.Go(func() {
			client, err := connect()
			if err != nil {
				wrong(err)
				return
			}
			defer client.Close()
			for ctx.Err() == nil {
				err := b.step(ctx, client)
				if err == nil {
					continue
				}
				if _, impossible := errors.AsType[wrongAnswer](err); impossible || ctx.Err() == nil && alive() {
					wrong(fmt.Errorf("%s: %w", b.name, err))
				}
				return
			}
		})
	}
}

// wrongAnswer is an answer that contradicts the ledger.
type wrongAnswer struct{ error }

func wrongf(format string, args ...any) error { return wrongAnswer{fmt.Errorf(format, args...)} }

// step does one thing.
func (b *book) step(ctx context.Context, c *clientv3.Client) error {
	key := b.keys[b.rng.IntN(len(b.keys))]
	switch p := b.rng.IntN(100); {
	case p < 45:
		return b.write(func(after map[string]row) { b.put(after, key) }, func() (*pb.ResponseHeader, error) {
			r, err := c.Put(ctx, key, b.after[key].value)
			if err != nil {
				return nil, err
			}
			return r.Header, nil
		})
	case p < 55:
		return b.deleteRange(ctx, c, key)
	case p < 80:
		return b.txn(ctx, c, key)
	case p < 97:
		return b.read(ctx, c, key)
	default:
		return b.compact(ctx, c)
	}
}

// value makes a value that says whose it is and which; now and then a large one, so that files fill.
func (b *book) value(key string) string {
	b.serial++
	size := b.rng.IntN(200)
	if b.rng.IntN(20) == 0 {
		size = b.rng.IntN(20_000)
	}
	return fmt.Sprintf("%s#%d#%s", key, b.serial, strings.Repeat("x", size))
}

func (b *book) put(after map[string]row, key string) {
	was := after[key]
	after[key] = row{value: b.value(key), create: was.create, version: was.version + 1}
}

// write makes the write that change describes known as under way, does it, and notes its answer.
func (b *book) write(change func(after map[string]row), do func() (*pb.ResponseHeader, error)) error {
	after := maps.Clone(b.now)
	change(after)
	b.mu.Lock()
	b.after = after
	b.mu.Unlock()
	header, err := do()
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.acknowledged(header.Revision)
}

// acknowledged turns what was under way into what is, at revision.
func (b *book) acknowledged(revision int64) error {
	changed := b.settle(revision)
	switch {
	case changed && revision <= b.revision:
		return wrongf("a write was given revision %d after %d had been seen", revision, b.revision)
	case revision < b.revision:
		return wrongf("revision %d was answered after %d had been seen", revision, b.revision)
	}
	b.revision = revision
	b.done++
	return nil
}

// settle takes over what was under way, with the revision that it was given, and reports whether it changed anything.
func (b *book) settle(revision int64) (changed bool) {
	for key, r := range b.after {
		if r.mod != 0 {
			continue
		}
		changed = true
		r.mod = revision
		if r.version == 1 {
			r.create = revision
		}
		b.after[key] = r
		b.remember(moment{revision, key, r, true})
	}
	for key := range b.now {
		if _, still := b.after[key]; !still {
			changed = true
			b.remember(moment{revision, key, row{}, false})
		}
	}
	b.now, b.after = b.after, nil
	return changed
}

func (b *book) remember(m moment) {
	if len(b.past) < 64 {
		b.past = append(b.past, m)
		return
	}
	b.past[b.rng.IntN(len(b.past))] = m
}

func (b *book) deleteRange(ctx context.Context, c *clientv3.Client, key string) error {
	end := b.keys[b.rng.IntN(len(b.keys))]
	var want int64
	for k := range b.now {
		if k >= key && k < end {
			want++
		}
	}
	return b.write(func(after map[string]row) {
		maps.DeleteFunc(after, func(k string, _ row) bool { return k >= key && k < end })
	}, func() (*pb.ResponseHeader, error) {
		r, err := c.Delete(ctx, key, clientv3.WithRange(end))
		if err != nil {
			return nil, err
		}
		if r.Deleted != want {
			return nil, wrongf("%d keys of [%s, %s) were deleted, there were %d", r.Deleted, key, end, want)
		}
		return r.Header, nil
	})
}

// txn moves: it puts three keys and deletes a range, if a key is as it is known to be.
func (b *book) txn(ctx context.Context, c *clientv3.Client, key string) error {
	puts := map[string]bool{key: true, b.keys[b.rng.IntN(len(b.keys))]: true, b.keys[b.rng.IntN(len(b.keys))]: true}
	gone := b.keys[b.rng.IntN(len(b.keys))]
	return b.write(func(after map[string]row) {
		for _, k := range slices.Sorted(maps.Keys(puts)) {
			b.put(after, k)
		}
		if !puts[gone] {
			delete(after, gone)
		}
	}, func() (*pb.ResponseHeader, error) {
		var ops []clientv3.Op
		if !puts[gone] {
			ops = append(ops, clientv3.OpDelete(gone))
		}
		for k := range puts {
			ops = append(ops, clientv3.OpPut(k, b.after[k].value))
		}
		r, err := c.Txn(ctx).If(
			clientv3.Compare(clientv3.ModRevision(key), "=", b.now[key].mod),
			clientv3.Compare(clientv3.Version(key), "=", b.now[key].version),
		).Then(ops...).Commit()
		if err != nil {
			return nil, err
		}
		if !r.Succeeded {
			return nil, wrongf("key %s is not at revision %d, version %d", key, b.now[key].mod, b.now[key].version)
		}
		return r.Header, nil
	})
}

// read reads a key and holds it against the ledger; a linearizable read sees what was acknowledged.
func (b *book) read(ctx context.Context, c *clientv3.Client, key string) error {
	r, err := c.Get(ctx, key)
	if err != nil {
		return err
	}
	want, exists := b.now[key]
	if err := compare(key, r, want, exists); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if r.Header.Revision < b.revision {
		return wrongf("a read answers revision %d after %d had been seen", r.Header.Revision, b.revision)
	}
	b.revision = r.Header.Revision
	return nil
}

func compare(key string, r *clientv3.GetResponse, want row, exists bool) error {
	switch {
	case exists && len(r.Kvs) == 0:
		return wrongf("key %s is missing at revision %d; it was acknowledged at %d", key, r.Header.Revision, want.mod)
	case !exists && len(r.Kvs) > 0:
		return wrongf("key %s is there, from revision %d, and should not be", key, r.Kvs[0].ModRevision)
	case !exists:
		return nil
	}
	kv := r.Kvs[0]
	if have := (row{string(kv.Value), kv.CreateRevision, kv.ModRevision, kv.Version}); have != want {
		return wrongf("key %s is %s, not %s", key, have, want)
	}
	return nil
}

func (r row) String() string {
	return fmt.Sprintf("%.40q… of %d bytes (created %d, modified %d, version %d)", r.value, len(r.value), r.create, r.mod, r.version)
}

// compact compacts some way behind what this client has seen.
func (b *book) compact(ctx context.Context, c *clientv3.Client) error {
	at := b.revision - int64(b.rng.IntN(100))
	if at <= b.compacted {
		return nil
	}
	_, err := c.Compact(ctx, at)
	switch {
	case errors.Is(err, rpctypes.ErrCompacted):
		return nil // another client was faster
	case err != nil:
		return err
	}
	b.mu.Lock()
	b.compacted = at
	b.mu.Unlock()
	return nil
}

// verify holds the member that c reaches against the ledger, and takes over what has become of the writes that were
// under way.
func (l *ledger) verify(ctx context.Context, c *clientv3.Client) error {
	for _, b := range l.books {
		b.mu.Lock()
		err := b.verify(ctx, c)
		b.mu.Unlock()
		if err != nil {
			return fmt.Errorf("seed %d, %s: %w", l.seed, b.name, err)
		}
	}
	return nil
}

func (b *book) verify(ctx context.Context, c *clientv3.Client) error {
	r, err := c.Get(ctx, b.name, clientv3.WithPrefix())
	if err != nil {
		return err
	}
	if r.Header.Revision < b.revision {
		return wrongf("the member is at revision %d; %d had been seen", r.Header.Revision, b.revision)
	}
	have := map[string]row{}
	for _, kv := range r.Kvs {
		have[string(kv.Key)] = row{string(kv.Value), kv.CreateRevision, kv.ModRevision, kv.Version}
	}
	if len(r.Kvs) != len(have) || r.Count != int64(len(have)) {
		return wrongf("%d keys were answered, %d of them different, and counted as %d", len(r.Kvs), len(have), r.Count)
	}
	if b.after != nil && b.happened(have) {
		var revision int64
		for key, row := range b.after {
			if row.mod == 0 {
				revision = have[key].mod
			}
		}
		if revision != 0 && revision <= b.revision {
			return wrongf("a write without an answer stands at revision %d; %d had been seen before it", revision, b.revision)
		}
		b.settle(revision)
	}
	b.after = nil
	for key, want := range b.now {
		if found, exists := have[key]; !exists {
			return wrongf("key %s is missing; it was acknowledged as %s", key, want)
		} else if found != want {
			return wrongf("key %s is %s; it was acknowledged as %s", key, found, want)
		}
	}
	for key, found := range have {
		if _, exists := b.now[key]; !exists {
			return wrongf("key %s is there, %s, and should not be", key, found)
		}
	}
	b.revision = r.Header.Revision
	return b.verifyPast(ctx, c)
}

// happened reports whether the write under way has been done: its values are there, none of them was before, and the
// keys that it deleted are gone.
func (b *book) happened(have map[string]row) bool {
	for key, want := range b.after {
		if want.mod == 0 && have[key].value == want.value {
			return true
		}
	}
	for key := range b.now {
		_, kept := b.after[key]
		_, there := have[key]
		if !kept && !there {
			return true
		}
	}
	return false
}

// verifyPast reads what was at its revision, or finds it compacted if somebody may have done so.
func (b *book) verifyPast(ctx context.Context, c *clientv3.Client) error {
	if b.compacted > 1 {
		_, err := c.Get(ctx, b.keys[0], clientv3.WithRev(b.compacted-1), clientv3.WithCountOnly())
		if !errors.Is(err, rpctypes.ErrCompacted) {
			return wrongf("the compaction at %d was acknowledged; a read before it answers %v", b.compacted, err)
		}
	}
	for i, m := range b.past {
		if i%8 != b.rng.IntN(8) || m.revision == 0 {
			continue
		}
		r, err := c.Get(ctx, m.key, clientv3.WithRev(m.revision))
		if errors.Is(err, rpctypes.ErrCompacted) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read %s at revision %d: %w", m.key, m.revision, err)
		}
		if err := compare(m.key, r, m.row, m.exists); err != nil {
			return fmt.Errorf("at revision %d: %w", m.revision, err)
		}
	}
	return nil
}
