package datadir

import (
	"errors"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/internal/kind"
)

// A mark is there after a restart, until it is removed or another store is current; what is broken is refused with the
// file's name.
func TestQuarantine(t *testing.T) {
	fs := vfs.NewCrashableMem()
	open := func() *Dir {
		t.Helper()
		d, err := Open(fs, "data", Options{})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	made := func(log, store string) error {
		return errors.Join(fs.MkdirAll(log, 0o700), fs.MkdirAll(store, 0o700))
	}
	d := open()
	if err := d.Init(kind.Identity{Cluster: 1, Member: 2, Incarnation: 3}, "n", made); err != nil {
		t.Fatal(err)
	}
	if _, marked, err := d.Quarantine(); marked || err != nil {
		t.Error("a new directory has a mark", err)
	}
	cause := "after entry 77 \"the\" digest\nis another"
	if err := d.SetQuarantine(cause, true); err != nil {
		t.Fatal(err)
	}
	_ = d.Close()
	fs = fs.CrashClone(vfs.CrashCloneCfg{})
	d = open()
	if len(d.Warnings()) != 0 {
		t.Errorf("warnings %q", d.Warnings())
	}
	q, marked, err := d.Quarantine()
	if err != nil || !marked || q != (Quarantine{"store-1", true, cause}) {
		t.Errorf("%+v, %v, %v", q, marked, err)
	}
	name, _, err := d.NextStoreDir()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.SwitchStore(name); err != nil {
		t.Fatal(err)
	}
	_ = d.Close()
	if d, err = Open(fs, "data", Options{ReadOnly: true}); err != nil {
		t.Fatal(err)
	}
	if _, marked, err := d.Quarantine(); marked || err != nil {
		t.Error("the mark of another store counts for who reads only", err)
	}
	if _, err := fs.Stat(d.join(quarantineName)); err != nil {
		t.Error("who reads only has removed the mark", err)
	}
	_ = d.Close()
	d = open()
	if _, marked, err := d.Quarantine(); marked || err != nil {
		t.Error("the mark of another store counts", err)
	}
	if _, err := fs.Stat(d.join(quarantineName)); err == nil {
		t.Error("it is still there")
	}
	if err := d.SetQuarantine("c", false); err != nil {
		t.Fatal(err)
	}
	if err := d.EndQuarantine(); err != nil {
		t.Fatal(err)
	}
	if err := d.EndQuarantine(); err != nil {
		t.Error("removed twice:", err)
	}
	_ = d.Close()
	fs = fs.CrashClone(vfs.CrashCloneCfg{})
	d = open()
	defer d.Close()
	if _, marked, err := d.Quarantine(); marked || err != nil {
		t.Error("a mark that was removed is back", err)
	}
}

// The file is frozen, and read strictly.
func TestQuarantineFile(t *testing.T) {
	b := encodeQuarantine(Quarantine{"store-3", false, "digest"})
	const want = "holdfast quarantine\nformat 1\nstore store-3\ndamaged false\ncause \"digest\"\nchecksum "
	if !strings.HasPrefix(string(b), want) {
		t.Errorf("it is written as %q", b)
	}
	for i := range b {
		c := append([]byte(nil), b...)
		c[i] ^= 1
		if _, err := decodeQuarantine("f", c); err == nil {
			t.Errorf("byte %d: not found", i)
		}
	}
	var damage *Corruption
	for _, lines := range [][]string{{}, {"store x", "damaged true", "cause \"c\""}, {"store store-1", "damaged yes", "cause \"c\""},
		{"store store-1", "damaged true", "cause c"}, {"store store-1", "damaged true", "cause \"\""}, {"store store-1", "damaged true", "cause \"c\"", "more"}} {
		if _, err := decodeQuarantine("f", seal(quarantineMagic, lines...)); !errors.As(err, &damage) {
			t.Errorf("%q: %v", lines, err)
		}
	}
}

// No file makes it fail otherwise than with a refusal.
func FuzzQuarantine(f *testing.F) {
	f.Add([]byte(encodeQuarantine(Quarantine{"store-3", true, "c"})))
	f.Add([]byte("holdfast quarantine\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if q, err := decodeQuarantine("f", b); err == nil && string(encodeQuarantine(q)) != string(b) {
			t.Errorf("%q is read as %+v", b, q)
		}
	})
}
