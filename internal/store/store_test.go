package store

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/internal/kind"
)

var testIdentity = kind.Identity{Cluster: 0xc1, Member: 0x3e, Incarnation: 0x1ca}

// testOpen opens a store and closes it with the test.
func testOpen(t testing.TB, fs vfs.FS, o Options) *DB {
	t.Helper()
	db, err := Open(fs, "data/store", testIdentity, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close(false) })
	return db
}

// apply commits what an entry would: the applied record and one record beside it.
func apply(db *DB, index uint64) error {
	b := db.NewBatch()
	defer b.Close()
	b.Set(AppendKey(nil, FamilyLease, fmt.Sprint(index)), fmt.Append(nil, "value ", index), nil)
	b.Set(AppliedKey(), EncodeApplied(Applied{Position: kind.Position{Index: kind.Index(index), Term: 2}, Revision: kind.Revision(index)}), nil)
	return b.Commit(pebble.NoSync)
}

// TestCreateIsDurable holds S2: what Create returned for survives a power cut at once, in a directory whose parents
// it made too.
func TestCreateIsDurable(t *testing.T) {
	fs := vfs.NewCrashableMem()
	key := AppendKey(nil, FamilyMember, "1")
	first := Applied{Position: kind.Position{Index: 1, Term: 1}, Revision: 1, MachineVersion: 1}
	err := Create(fs, "data/store", testIdentity, func(set func(key, value []byte)) error {
		set(key, []byte("one"))
		set(AppliedKey(), EncodeApplied(first))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	db := testOpen(t, fs.CrashClone(vfs.CrashCloneCfg{}), Options{})
	if a, err := db.Applied(); err != nil || a != first {
		t.Errorf("applied is %+v, %v", a, err)
	}
	if p, err := db.Durable(); err != nil || p != first.Position {
		t.Errorf("durable is %v, %v", p, err)
	}
	if value, closer, err := db.Get(key); err != nil || string(value) != "one" {
		t.Errorf("what genesis set is %q, %v", value, err)
	} else {
		closer.Close()
	}
	if err := Create(fs, "data/store", testIdentity, nil); err == nil {
		t.Error("a store was made over another")
	}
}

// TestCreateInterrupted holds that a power cut at any moment of Create leaves a whole store or one that says that it
// is none.
func TestCreateInterrupted(t *testing.T) {
	cut := 0
	for n := 1; ; n++ {
		fs := vfs.NewCrashableMem()
		counted := &stopFS{FS: fs, left: n}
		err := Create(counted, "data/store", testIdentity, nil)
		clone := counted.clone
		if clone == nil {
			clone = fs.CrashClone(vfs.CrashCloneCfg{})
		}
		db, openErr := Open(clone, "data/store", testIdentity, Options{})
		switch {
		case openErr == nil:
			if p, err := db.Durable(); err != nil || p != (kind.Position{}) {
				t.Errorf("cut %d: durable is %v, %v", n, p, err)
			}
			db.Close(false)
		case errors.Is(openErr, ErrAbsent), errors.Is(openErr, ErrUnfinished):
			cut++
		default:
			t.Errorf("cut %d: %v", n, openErr)
		}
		if counted.clone == nil {
			if err != nil || openErr != nil {
				t.Fatalf("uncut: %v, %v", err, openErr)
			}
			break
		}
	}
	if cut < 3 {
		t.Errorf("only %d cuts left something unfinished", cut)
	}
}

// TestDurable holds I3: the durable position is that of the last flush, before a power cut and after it.
func TestDurable(t *testing.T) {
	fs := vfs.NewCrashableMem()
	if err := Create(fs, "data/store", testIdentity, nil); err != nil {
		t.Fatal(err)
	}
	db := testOpen(t, fs, Options{})
	for index := uint64(1); index <= 20; index++ {
		if err := apply(db, index); err != nil {
			t.Fatal(err)
		}
		if index%7 == 0 {
			if err := db.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		durable, err := db.Durable()
		if err != nil || uint64(durable.Index) != index/7*7 {
			t.Fatalf("entry %d: durable is %v, %v", index, durable, err)
		}
		if a, err := db.Applied(); err != nil || uint64(a.Position.Index) != index {
			t.Fatalf("entry %d: applied is %v, %v", index, a.Position, err)
		}
		after := testOpen(t, fs.CrashClone(vfs.CrashCloneCfg{}), Options{})
		if a, err := after.Applied(); err != nil || a.Position != durable {
			t.Fatalf("entry %d: a power cut leaves %v, %v; durable was %v", index, a.Position, err, durable)
		}
	}
}

// TestRefusals holds S5: each reason not to open a store has its own error, and changes nothing.
func TestRefusals(t *testing.T) {
	fs := vfs.NewMem()
	refused := func(what string, expected error, dir string, id kind.Identity) {
		t.Helper()
		_, err := Open(fs, dir, id, Options{})
		if !errors.Is(err, expected) {
			t.Errorf("%s: %v", what, err)
		}
	}
	refused("no directory", ErrAbsent, "nothing", testIdentity)
	fs.MkdirAll("empty", 0o755)
	refused("an empty directory", ErrAbsent, "empty", testIdentity)
	if list, _ := fs.List("nothing"); list != nil {
		t.Error("the refused directory was made")
	}

	if err := Create(fs, "data/store", testIdentity, nil); err != nil {
		t.Fatal(err)
	}
	other := testIdentity
	other.Incarnation++
	refused("another incarnation", ErrIdentity, "data/store", other)
	db := testOpen(t, fs, Options{})
	refused("a store in use", ErrLocked, "data/store", testIdentity)
	db.Close(false)

	if err := Create(fs, "newer", testIdentity, func(set func(key, value []byte)) error {
		set(AppliedKey(), []byte{appliedVersion + 1, 1, 2, 3})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	refused("a newer applied record", ErrNewer, "newer", testIdentity)
	db = testOpen(t, fs, Options{})
	if err := db.Set(identityKey, encodeIdentity(FormatVersion+1, testIdentity), pebble.NoSync); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(true); err != nil {
		t.Fatal(err)
	}
	refused("a newer format", ErrNewer, "data/store", testIdentity)

	p := pebbleOptions(fs, Options{}, newAlarm(nil))
	raw, err := pebble.Open("unfinished", p)
	if err != nil {
		t.Fatal(err)
	}
	raw.Close()
	refused("a store without an identity", ErrUnfinished, "unfinished", testIdentity)

	list, _ := fs.List("unfinished")
	for _, name := range list {
		if strings.HasPrefix(name, "marker.format-version") {
			number := fmt.Sprintf("%03d", FormatMajorVersion+1)
			if err := fs.Rename("unfinished/"+name, "unfinished/"+name[:len(name)-3]+number); err != nil {
				t.Fatal(err)
			}
		}
	}
	refused("newer tables", ErrNewer, "unfinished", testIdentity)
}

// TestCheckpoint holds that a checkpoint has at least what was applied before it and opens as a store.
func TestCheckpoint(t *testing.T) {
	fs := vfs.NewMem()
	if err := Create(fs, "data/store", testIdentity, nil); err != nil {
		t.Fatal(err)
	}
	db := testOpen(t, fs, Options{})
	for index := range uint64(5) {
		if err := apply(db, index+1); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Checkpoint("copy"); err != nil {
		t.Fatal(err)
	}
	if db.Usage() == 0 {
		t.Error("the store takes no space")
	}
	c, err := OpenReadOnly(fs, "copy", Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(false)
	if a, err := c.Applied(); err != nil || a.Position.Index != 5 || c.Identity != testIdentity {
		t.Errorf("the checkpoint stands at %v, %v", a.Position, err)
	}
	if err := apply(c, 6); err == nil {
		t.Error("a store that was opened for reading was written")
	}
}

// FuzzApplied holds that the decoder of the applied record takes any bytes and reads back what was written.
func FuzzApplied(f *testing.F) {
	f.Add(EncodeApplied(Applied{Revision: 1}))
	f.Add(EncodeApplied(Applied{Position: kind.Position{Index: 1 << 60, Term: 3}, LiveKeys: -1}))
	f.Add([]byte{})
	f.Add([]byte{2})
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := DecodeApplied(b)
		if err == nil && string(EncodeApplied(a)) != string(b) {
			t.Fatalf("%x is read as %+v", b, a)
		}
	})
}

// FuzzIdentity does the same for the identity record.
func FuzzIdentity(f *testing.F) {
	f.Add(encodeIdentity(FormatVersion, testIdentity))
	f.Add(encodeIdentity(FormatVersion+1, testIdentity))
	f.Add([]byte("HFST"))
	f.Fuzz(func(t *testing.T, b []byte) {
		id, err := decodeIdentity(b)
		if err == nil && string(encodeIdentity(FormatVersion, id)) != string(b) {
			t.Fatalf("%x is read as %v", b, id)
		}
	})
}
