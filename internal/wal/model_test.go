package wal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3"
	"google.golang.org/protobuf/proto"

	"holdfast/internal/kind"
)

// TestModel compares the log with a slice over random work, clean restarts under other options, kills, and reads that
// come from the cache, from the files, and from both.
func TestModel(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			fs := vfs.NewMem()
			a := newAuthor(seed)
			rng := rand.New(rand.NewPCG(seed, 3))
			options := func() Options {
				return Options{SegmentBytes: 6000 + rng.Int64N(20000), CacheBytes: 1 + rng.Int64N(4000)}
			}
			create(t, fs, options())
			a.log = open(t, fs, kind.Position{}, options())
			for range 300 {
				if rng.IntN(20) == 0 {
					if rng.IntN(2) == 0 {
						must(t, a.log.Close())
					} // else the process was killed, and the page cache keeps what was written
					a.may = a.may[len(a.may)-1:]
					a.log = open(t, fs, a.applied, options())
					c := a.check(t, a.log)
					// A hard state that Open raised is the one that raft knows from now on.
					c.state = stateOf(a.log.HardState())
					a.now = c
					a.durable()
				}
				must(t, a.step())
				a.reads(t, rng)
			}
			must(t, a.log.Close())
		})
	}
}

// reads compares a few random reads with the model.
func (a *author) reads(t *testing.T, rng *rand.Rand) {
	t.Helper()
	l, c := a.log, a.now
	first, last := l.FirstIndex(), l.LastIndex()
	if last != c.last().Index || first > c.start.Index+1 {
		t.Fatalf("the log holds %d to %d, want %d to %d", first, last, c.start.Index+1, c.last().Index)
	}
	if term, err := l.Term(last); err != nil || term != c.last().Term {
		t.Fatal(term, err)
	}
	if _, err := l.Term(last + 1); err != raft.ErrUnavailable {
		t.Fatal(err)
	}
	if _, err := l.Entries(first-1, first, 1); err != raft.ErrCompacted {
		t.Fatal(err)
	}
	if _, err := l.Entries(first, last+2, 1); err != raft.ErrUnavailable {
		t.Fatal(err)
	}
	if c.start.Index == last {
		return
	}
	lo := c.start.Index + 1 + kind.Index(rng.Uint64N(uint64(last-c.start.Index)))
	hi := lo + 1 + kind.Index(rng.Uint64N(uint64(last+1-lo)))
	limit := rng.Uint64N(5000)
	want := c.entries[lo-c.start.Index-1 : hi-c.start.Index-1]
	var size uint64
	for n, e := range want {
		if size += uint64(proto.Size(e)); size > limit && n > 0 {
			want = want[:n]
			break
		}
	}
	got, err := l.Entries(lo, hi, limit)
	must(t, err)
	sameEntries(t, got, want)
	if whole, some := l.SizeSince(lo-1), l.SizeSince(lo); whole-some < recordSize(entryHead+len(want[0].GetData())) {
		t.Fatalf("the log has %d bytes above %d and %d above %d", whole, lo-1, some, lo)
	}
}

// TestReadersBeside holds that readers may run beside the writer, also while segments are given up under them.
func TestReadersBeside(t *testing.T) {
	fs := vfs.NewMem()
	l := newLog(t, fs, Options{SegmentBytes: 8192, CacheBytes: 1000})
	done := make(chan struct{})
	var readers sync.WaitGroup
	for seed := range uint64(3) {
		readers.Go(func() {
			rng := rand.New(rand.NewPCG(seed, 5))
			for reads := 0; ; reads++ {
				select {
				case <-done:
					if reads > 100 {
						return
					}
				default:
				}
				lo := l.FirstIndex() + kind.Index(rng.IntN(5))
				es, err := l.Entries(lo, lo+1+kind.Index(rng.IntN(8)), 1<<20)
				if errors.Is(err, raft.ErrCompacted) || errors.Is(err, raft.ErrUnavailable) {
					continue
				} else if err != nil {
					t.Error(err)
					return
				}
				for i, e := range es {
					if !sameEntry(e, entry(uint64(lo)+uint64(i), 1, 300)) {
						t.Errorf("entry %v", e)
					}
				}
				l.HardState()
				l.SizeSince(lo)
				l.Bytes()
			}
		})
	}
	for i := uint64(1); i <= 3000; i++ {
		must(t, l.Append(entriesOf(i, i, 1, 300), hard(1, 1, i)))
		must(t, l.Sync())
		if i > 40 {
			must(t, l.Truncate(kind.Index(i-40)))
		}
	}
	close(done)
	readers.Wait()
	must(t, l.Close())
}

// TestCacheIsBounded holds that the cache keeps to its size, and that what left it is read and checked again.
func TestCacheIsBounded(t *testing.T) {
	fs := vfs.NewMem()
	l := newLog(t, fs, Options{CacheBytes: 10000})
	for i := uint64(1); i <= 100; i++ {
		must(t, l.Append(entriesOf(i, i, 1, 1000), nil))
		if l.mu.cached > 10000 || len(l.mu.cache) > 10 {
			t.Fatalf("the cache holds %d bytes", l.mu.cached)
		}
	}
	l.Evict(95)
	if len(l.mu.cache) != 5 {
		t.Fatalf("the cache holds %d entries", len(l.mu.cache))
	}
	sameEntries(t, all(t, l), entriesOf(1, 100, 1, 1000))
	b, err := fs.UnsafeGetFileDataBuffer(l.tail.path)
	must(t, err)
	b[l.mu.slots[50].offset+500] ^= 1
	_, err = l.Entries(40, 60, 1<<30)
	var c *Corruption
	if !errors.As(err, &c) || c.File != l.tail.path || c.Offset != l.mu.slots[50].offset {
		t.Fatal(err)
	}
	if _, err := l.Entries(52, 101, 1<<30); err != nil {
		t.Fatal(err)
	}
}
