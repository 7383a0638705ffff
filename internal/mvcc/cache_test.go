package mvcc

import (
	"context"
	"fmt"
	"math/rand"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/internal/command"
	"holdfast/internal/kind"
)

func point(key string) command.Range {
	return command.Range{Interval: command.NewInterval([]byte(key), nil)}
}

// value reads the latest value of key, "-" if it is absent.
func (w *world) value(key string) string {
	w.t.Helper()
	a, err := w.s.Range(context.Background(), point(key))
	if err != nil {
		w.t.Fatal(err)
	}
	r := decodeAnswer(w.t, a)
	if len(r.Kvs) == 0 {
		return "-"
	}
	return string(r.Kvs[0].Value)
}

// A reader that is held between reading and filling the cache does not put an old row, or an old absence, there (V3).
func TestReaderHeldBeforeFill(t *testing.T) {
	for _, before := range []string{"-", "old"} {
		for _, after := range []string{"-", "new"} {
			t.Run(before+" to "+after, func(t *testing.T) {
				w := newWorld(t, vfs.NewMem(), Options{})
				if before != "-" {
					w.put("k", before)
				}
				w.close(true)
				w.open() // with an empty cache
				w.s.hooks.found = func() {
					w.s.hooks.found = nil
					if after != "-" {
						w.put("k", after)
					} else {
						w.do(func(wr *Writer) { wr.DeleteRange(command.NewInterval([]byte("k"), nil), DeleteOptions{}) })
					}
				}
				if got := w.value("k"); got != before {
					t.Fatalf("the held reader sees %q, want %q", got, before)
				}
				if got := w.value("k"); got != after {
					t.Fatalf("the next reader sees %q, want %q", got, after)
				}
			})
		}
	}
}

// A reader that comes while the applier is held between cache and publish sees the old state whole (V2): neither the
// row that the cache has already, nor an absence, nor a new revision. What it finds does not enter the cache.
func TestApplierHeldBeforePublish(t *testing.T) {
	w := newWorld(t, vfs.NewMem(), Options{})
	w.put("changed", "old")
	w.put("deleted", "old")
	held := false
	look := func() {
		held = true
		for key, want := range map[string]string{"changed": "old", "deleted": "old", "created": "-"} {
			if got := w.value(key); got != want {
				t.Errorf("%s is %q while the applier is held, want %q", key, got, want)
			}
		}
		if got := w.s.Revision(); got != 3 {
			t.Errorf("revision %d while the applier is held, want 3", got)
		}
		v, err := w.s.View()
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		if row, ok := v.Reader(context.Background()).Get([]byte("deleted")); !ok || string(row.Value()) != "old" || v.Revision() != 3 {
			t.Errorf("a view sees %+v at %d while the applier is held", row, v.Revision())
		}
	}
	w.s.hooks.cached = look
	w.do(func(wr *Writer) {
		wr.Put([]byte("changed"), []byte("new"), 0)
		wr.Put([]byte("created"), []byte("new"), 0)
		wr.DeleteRange(command.NewInterval([]byte("deleted"), nil), DeleteOptions{})
	})
	w.s.hooks.cached = nil
	if !held {
		t.Fatal("the applier was not held")
	}
	for key, want := range map[string]string{"changed": "new", "deleted": "-", "created": "new"} {
		if got := w.value(key); got != want {
			t.Errorf("%s is %q after publishing, want %q", key, got, want)
		}
	}
}

// Whatever is put in and taken out, the cache stays within its bound and never returns what is not the latest.
func TestCacheIsBoundedAndTrue(t *testing.T) {
	const size = 1 << 20
	r := rand.New(rand.NewSource(1))
	c := newCache(size)
	truth := map[string]string{}
	hits := 0
	for rev := kind.Revision(2); rev < 60_000; rev++ {
		key := fmt.Sprintf("key-%d", int(r.ExpFloat64()*2000))
		if r.Intn(3) == 0 {
			row := make([]byte, r.Intn(300))
			r.Read(row)
			if r.Intn(200) == 0 {
				row = make([]byte, 100<<10) // too large to be cached
			}
			if r.Intn(5) == 0 {
				row = nil
			}
			truth[key] = string(row)
			if row == nil {
				delete(truth, key)
			}
			c.update([]byte(key), row, rev)
			continue
		}
		b, before, known := c.get([]byte(key), rev, false)
		want, exists := truth[key]
		if known {
			hits++
			if (b == nil) != !exists && len(want) > 0 || string(b) != want || before != 0 {
				t.Fatalf("revision %d: the cache has %d bytes of %s, want %d", rev, len(b), key, len(want))
			}
		} else if exists {
			c.fill([]byte(key), []byte(want), rev, rev)
		} else {
			c.fill([]byte(key), nil, 0, rev)
		}
	}
	if hits < 1000 {
		t.Errorf("%d hits are too few for the test to mean anything", hits)
	}
	held := 0
	for i := range c.shards {
		for _, b := range c.shards[i].mu.chunks {
			held += cap(b)
		}
		held += len(c.shards[i].mu.index) * indexBytes
	}
	if held > size*5/4 {
		t.Errorf("the cache holds %d bytes, its bound is %d", held, size)
	}
	c.clear(60_000)
	if _, _, known := c.get([]byte("key-1"), 60_000, false); known {
		t.Error("the cleared cache knows something")
	}
	c.fill([]byte("key-1"), []byte("x"), 59_000, 59_999)
	if _, _, known := c.get([]byte("key-1"), 60_000, false); known {
		t.Error("a reader from before the clearing has filled the cache")
	}
}
