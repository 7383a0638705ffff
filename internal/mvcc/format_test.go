package mvcc

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"holdfast/internal/command"
	"holdfast/internal/store"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew; a difference is a new format and needs a new version")

// The records of 'v' and 'h', and the cursor of the deleting, are for ever what they are in testdata.
func TestGoldenRecords(t *testing.T) {
	w := newWorld(t, vfs.NewMem(), Options{StepChanges: 2})
	w.do(func(wr *Writer) {
		wr.Put([]byte("plain"), []byte("value"), 0)
		wr.Put([]byte("leased\x00\x09"), []byte{}, -7)
	})
	w.put("plain", strings.Repeat("x", 200))
	w.do(func(wr *Writer) {
		wr.Put([]byte("both"), []byte("put, then deleted"), 1)
		wr.DeleteRange(command.NewInterval([]byte("both"), []byte("c")), DeleteOptions{})
		wr.DeleteRange(command.NewInterval([]byte("plain"), nil), DeleteOptions{})
		wr.Put([]byte("plain"), []byte("deleted, then put"), 0)
	})
	w.do(func(wr *Writer) { wr.DeleteRange(everything, DeleteOptions{}) })
	w.compact(2)
	if _, err := w.s.CompactStep(); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	it, err := w.db.NewIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		key, value := it.Key(), it.Value()
		if key[0] == store.FamilyMeta && !bytes.Equal(key, progressKey) {
			continue
		}
		fmt.Fprintf(&out, "%x\n    %x\n", key, value)
		if d := Describers()[key[0]]; d != nil {
			fmt.Fprintf(&out, "    %s\n", d(key, value))
		}
	}
	golden(t, "records.txt", out.String())
}

func golden(t *testing.T, name, have string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(have), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if have != string(want) {
		t.Errorf("%s:\nhave\n%swant\n%s", path, have, want)
	}
}

// A row is a KeyValue to every decoder of protobuf, and each front part of it that an answer shows is one too.
func TestRowIsKeyValue(t *testing.T) {
	for _, want := range []*mvccpb.KeyValue{
		{Key: []byte("k"), CreateRevision: 1, ModRevision: 1, Version: 1},
		{Key: []byte("k"), CreateRevision: 2, ModRevision: 1 << 40, Version: 77, Lease: -1, Value: make([]byte, 300)},
		{Key: make([]byte, 200), CreateRevision: 2, ModRevision: 3, Version: 2, Value: []byte{0}},
	} {
		buffer := make([]byte, 0, rowSize(want.Key, want.Value))
		got, row := appendRow(buffer, want.Key, want.Value, kindRevision(want.CreateRevision), kindRevision(want.ModRevision), want.Version, kindLease(want.Lease))
		if &got[0] != &buffer[:1][0] {
			t.Error("rowSize is too small")
		}
		var kv mvccpb.KeyValue
		if err := proto.Unmarshal(row.Encoded, &kv); err != nil || !proto.Equal(&kv, want) {
			t.Errorf("%v, %v, want %v", &kv, err, want)
		}
		back, err := decodeRow(row.Encoded)
		if err != nil || fmt.Sprint(back) != fmt.Sprint(row) || !bytes.Equal(back.Key(), want.Key) || !bytes.Equal(back.Value(), want.Value) {
			t.Errorf("decoded %+v, %v, want %+v", back, err, row)
		}
		head := proto.Clone(want).(*mvccpb.KeyValue)
		head.Value = nil
		kv.Reset()
		if err := proto.Unmarshal(row.shown(formHead), &kv); err != nil || !proto.Equal(&kv, head) {
			t.Errorf("head %v, %v", &kv, err)
		}
		head.Lease = 0
		kv.Reset()
		if err := proto.Unmarshal(row.shown(formPlain), &kv); err != nil || !proto.Equal(&kv, head) {
			t.Errorf("plain %v, %v", &kv, err)
		}
		if len(row.Encoded) <= tombstoneLen {
			t.Error("a row is as short as a tombstone")
		}
	}
}

// The cursor of the deleting is found broken if any bit of it is.
func TestProgressRecord(t *testing.T) {
	p := progress{position{5, 6}, position{3, 0}, 4, 99}
	b := appendProgress(nil, p)
	if back, err := decodeProgress(b); err != nil || back != p {
		t.Fatalf("%+v, %v", back, err)
	}
	for i := range len(b) * 8 {
		c := bytes.Clone(b)
		c[i/8] ^= 1 << (i % 8)
		var corruption *store.Corruption
		if _, err := decodeProgress(c); !errors.As(err, &corruption) && !errors.Is(err, store.ErrNewer) {
			t.Fatalf("bit %d: %v", i, err)
		}
	}
}

// Whatever the bytes, decoding a row neither panics nor accepts what appendRow would not write again.
func FuzzDecodeRow(f *testing.F) {
	_, row := appendRow(nil, []byte("key"), []byte("value"), 3, 5, 2, 9)
	f.Add(row.Encoded)
	_, row = appendRow(nil, make([]byte, 300), nil, 1, 1, 1, -1)
	f.Add(row.Encoded)
	f.Add([]byte{tagKey, 0})
	f.Add([]byte{tagKey, 1, 'k', tagCreate, 0x81, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRow(b)
		if err != nil {
			return
		}
		again, same := appendRow(nil, r.Key(), r.Value(), r.Create, r.Mod, r.Version, r.Lease)
		if !bytes.Equal(again, b) || fmt.Sprint(same) != fmt.Sprint(r) {
			t.Fatalf("%x is read as %+v and written as %x", b, r, again)
		}
	})
}

// Whatever the bytes, decoding a record of the history neither panics nor accepts what is not written so.
func FuzzDecodeChange(f *testing.F) {
	f.Add(appendChange(nil, change{previous: 3, key: []byte("k")}))
	f.Add(appendChange(nil, change{deleted: true, superseded: true, key: []byte("k")}))
	f.Add(appendChange(nil, change{superseded: true, key: []byte("k"), row: []byte("row")}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, ok := decodeChange(b); ok && !bytes.Equal(appendChange(nil, c), b) {
			t.Fatalf("%x is read as %+v", b, c)
		}
		describeHistory(b, b)
		describeVersion(b, b)
	})
}

// Every order of keys and every interval is that of the store's comparer, for adversarial keys too.
func FuzzBounds(f *testing.F) {
	for _, k := range testKeys {
		f.Add([]byte(k), []byte("k05"), []byte("a\x00"))
	}
	f.Fuzz(func(t *testing.T, key, start, end []byte) {
		if len(key) == 0 {
			return
		}
		iv := command.NewInterval(start, end)
		if iv.Empty() {
			return
		}
		lower, upper := bounds(iv)
		for _, rev := range []int64{1, 1 << 40, int64(latest)} {
			k := appendVersionKey(nil, key, kindRevision(rev))
			inside := store.Compare(lower, k) <= 0 && store.Compare(k, upper) < 0
			if inside != iv.Contains(key) {
				t.Fatalf("%q in %+v: %v by the bounds", key, iv, inside)
			}
			if prefix, back, ok := splitVersionKey(k); !ok || int64(back) != rev || !bytes.Equal(userKey(prefix), key) || store.ValidateKey(k) != nil {
				t.Fatalf("%q at %d comes back as %q at %d", key, rev, prefix, back)
			}
		}
	})
}
