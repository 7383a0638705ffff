package datadir

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/internal/kind"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files")

var identity = kind.Identity{Cluster: 0x1f2e3d4c5b6a7988, Member: 0x8877665544332211, Incarnation: 0x0102030405060708}

const root = "var/lib/alpha"

// makeBoth puts a synced file into log and store, so that a test sees whether they are whole.
func makeBoth(fs vfs.FS) func(logDir, storeDir string) error {
	return func(logDir, storeDir string) error {
		return errors.Join(fill(fs, logDir), fill(fs, storeDir))
	}
}

func fill(fs vfs.FS, dir string) error {
	if err := write(fs, fs.PathJoin(dir, "content"), "whole"); err != nil {
		return err
	}
	return syncDir(fs, dir)
}

func write(fs vfs.FS, path, content string) error {
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte(content))
	return errors.Join(err, f.Sync(), f.Close())
}

func mustWrite(t *testing.T, fs vfs.FS, path, content string) {
	t.Helper()
	if err := errors.Join(fs.MkdirAll(fs.PathDir(path), 0o700), write(fs, path, content)); err != nil {
		t.Fatal(err)
	}
}

func mustOpen(t *testing.T, fs vfs.FS) *Dir {
	t.Helper()
	d, err := Open(fs, root, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func mustClose(t *testing.T, d *Dir) {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// made returns a file system with a complete directory in it.
func made(t *testing.T) *vfs.MemFS {
	t.Helper()
	fs := vfs.NewCrashableMem()
	d := mustOpen(t, fs)
	if err := d.Init(identity, "alpha", makeBoth(fs)); err != nil {
		t.Fatal(err)
	}
	mustClose(t, d)
	return fs
}

func TestMakeAndReopen(t *testing.T) {
	fs := vfs.NewMem()
	d := mustOpen(t, fs)
	if !d.Fresh() {
		t.Error("a new directory is not fresh")
	}
	if err := d.Init(identity, "Rafał \"1\"\n", makeBoth(fs)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if d.Fresh() || d.Identity() != identity || d.Name() != "Rafał \"1\"\n" || d.StoreDir() != root+"/store-1" || d.LogDir() != root+"/log" {
			t.Errorf("%+v", d)
		}
		if len(d.Warnings()) != 0 {
			t.Errorf("warnings: %q", d.Warnings())
		}
		mustClose(t, d)
		d = mustOpen(t, fs)
	}
	mustClose(t, d)
}

// D3: a store becomes current by the switch alone, and what is stale goes.
func TestSwitchStore(t *testing.T) {
	fs := made(t)
	d := mustOpen(t, fs)
	for _, want := range []string{"store-2", "store-3"} {
		name, path, err := d.NextStoreDir()
		if err != nil || name != want || path != root+"/"+want {
			t.Fatalf("%s %s %v", name, path, err)
		}
	}
	if d.StoreDir() != root+"/store-1" {
		t.Errorf("current before the switch: %s", d.StoreDir())
	}
	if err := d.SwitchStore("store-2"); err != nil {
		t.Fatal(err)
	}
	mustClose(t, d)
	d = mustOpen(t, fs)
	if d.StoreDir() != root+"/store-2" {
		t.Errorf("current after the switch: %s", d.StoreDir())
	}
	if err := d.RemoveStaleStores(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"store-1": false, "store-2": true, "store-3": false} {
		if _, err := fs.Stat(root + "/" + name); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := d.SwitchStore("store-9"); err == nil {
		t.Error("switched to a store that does not exist")
	}
	mustClose(t, d)
}

// Each refusal is its own sentinel, says what to do, and leaves the directory as it was but for LOCK (D5).
func TestRefusals(t *testing.T) {
	remove := func(name string) func(*testing.T, vfs.FS) {
		return func(t *testing.T, fs vfs.FS) {
			if err := fs.RemoveAll(root + "/" + name); err != nil {
				t.Fatal(err)
			}
		}
	}
	put := func(name, content string) func(*testing.T, vfs.FS) {
		return func(t *testing.T, fs vfs.FS) { mustWrite(t, fs, root+"/"+name, content) }
	}
	for _, c := range []struct {
		title string
		spoil func(*testing.T, vfs.FS)
		kind  error
		want  string
	}{
		{"store without log", remove("log"), ErrUnpaired, "holds a store but no log"},
		{"log without store", remove("store-1"), ErrUnpaired, "holds a log but no store"},
		{"neither", func(t *testing.T, fs vfs.FS) { remove("log")(t, fs); remove("store-1")(t, fs) }, ErrUnpaired, "neither a log nor a store"},
		{"no STORE", remove("STORE"), ErrUnpaired, "no file STORE"},
		{"STORE names another", put("STORE", string(encodeStore("store-7"))), ErrUnpaired, "no directory store-7"},
		{"no FORMAT", remove("FORMAT"), ErrNoFormat, "no file FORMAT"},
		{"FORMAT empty", put("FORMAT", ""), ErrCorrupt, "FORMAT is damaged at offset 0"},
		{"STORE empty", put("STORE", ""), ErrCorrupt, "STORE is damaged at offset 0"},
		{"FORMAT is a STORE", put("FORMAT", string(encodeStore("store-1"))), ErrCorrupt, "the first line is not"},
		{"newer", put("FORMAT", golden(t, "FORMAT.v2")), ErrNewerFormat, "made by a newer Holdfast"},
		{"newer STORE", put("STORE", golden(t, "STORE.v2")), ErrNewerFormat, "made by a newer Holdfast"},
		{"etcd's store", put("member/snap/db", ""), ErrEtcd, "holdfast import"},
		{"etcd's log", put("member/wal/0.wal", ""), ErrEtcd, "has changed nothing in it"},
	} {
		t.Run(c.title, func(t *testing.T) {
			fs := made(t)
			c.spoil(t, fs)
			before := fs.String()
			_, err := Open(fs, root, Options{})
			if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), root) {
				t.Errorf("%v\n\twant %q", err, c.want)
			}
			if after := fs.String(); after != before {
				t.Errorf("the refusal changed the directory:\n%s\n%s", before, after)
			}
			var damage *Corruption
			if errors.As(err, &damage) != (c.kind == ErrCorrupt) {
				t.Errorf("%v is a *Corruption: %v", err, errors.As(err, &damage))
			}
			if c.kind == ErrEtcd || c.kind == ErrLocked {
				return
			}
			if lock, err := fs.Lock(root + "/LOCK"); err != nil {
				t.Errorf("the refusal left the lock held: %v", err)
			} else if err := lock.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// An etcd directory gets not even a lock file.
func TestEtcdIsUntouched(t *testing.T) {
	fs := vfs.NewMem()
	mustWrite(t, fs, root+"/member/snap/db", "")
	before := fs.String()
	if _, err := Open(fs, root, Options{}); !errors.Is(err, ErrEtcd) || fs.String() != before {
		t.Errorf("%v\n%s", err, fs.String())
	}
}

func TestNotDirectory(t *testing.T) {
	fs := vfs.NewMem()
	mustWrite(t, fs, root, "a file")
	if _, err := Open(fs, root, Options{}); !errors.Is(err, ErrNotDirectory) {
		t.Error(err)
	}
	fs = vfs.NewMem()
	mustWrite(t, fs, root+"/member", "a file, as nobody would expect")
	mustClose(t, mustOpen(t, fs))
}

func TestLocked(t *testing.T) {
	fs := made(t)
	d := mustOpen(t, fs)
	if _, err := Open(fs, root, Options{}); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "fuser -v "+root+"/LOCK") {
		t.Error(err)
	}
	mustClose(t, d)
	mustClose(t, mustOpen(t, fs))
}

// lost+found is fine, an empty directory is fine, everything else is named and left alone.
func TestForeignFiles(t *testing.T) {
	fs := vfs.NewMem()
	mustWrite(t, fs, root+"/lost+found/x", "")
	mustWrite(t, fs, root+"/notes.txt", "")
	mustWrite(t, fs, root+"/store-01", "")
	d := mustOpen(t, fs)
	if w := d.Warnings(); len(w) != 2 || !strings.Contains(w[0], "notes.txt") || !strings.Contains(w[1], "store-01") {
		t.Errorf("warnings: %q", w)
	}
	if err := d.Init(identity, "a", makeBoth(fs)); err != nil {
		t.Fatal(err)
	}
	mustClose(t, d)
	for _, name := range []string{"lost+found/x", "notes.txt", "store-01"} {
		if _, err := fs.Stat(root + "/" + name); err != nil {
			t.Error(err)
		}
	}
}

// D2: a marker removes only what Init makes, and not a thing when it is damaged.
func TestMarker(t *testing.T) {
	fs := made(t)
	if err := fs.Remove(root + "/FORMAT"); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, fs, root+"/INITIALISING", string(seal(markerMagic, "remove ../x")))
	before := fs.String()
	if _, err := Open(fs, root, Options{}); !errors.Is(err, ErrCorrupt) || fs.String() != before {
		t.Errorf("%v\n%s", err, fs.String())
	}
	mustWrite(t, fs, root+"/INITIALISING", string(encodeMarker([]string{"log", "STORE", "store-1"})))
	d := mustOpen(t, fs)
	if !d.Fresh() {
		t.Error("not fresh")
	}
	if names, err := fs.List(root); err != nil || len(names) != 1 {
		t.Errorf("left after beginning anew: %q %v", names, err)
	}
	mustClose(t, d)
}

// Reading only makes, removes and finishes nothing.
func TestReadOnly(t *testing.T) {
	fs := made(t)
	mustWrite(t, fs, root+"/INITIALISING", string(encodeMarker([]string{"log"})))
	mustWrite(t, fs, root+"/FORMAT.tmp", "")
	before := fs.String()
	d, err := Open(fs, root, Options{ReadOnly: true})
	if err != nil || d.Identity() != identity {
		t.Fatal(err)
	}
	mustClose(t, d)
	if fs.String() != before {
		t.Errorf("changed:\n%s\n%s", before, fs.String())
	}
	if _, err := Open(fs, "nowhere", Options{ReadOnly: true}); !errors.Is(err, ErrMissing) {
		t.Error(err)
	}
	if err := fs.Remove(root + "/FORMAT"); err != nil {
		t.Fatal(err)
	}
	before = fs.String()
	d, err = Open(fs, root, Options{ReadOnly: true})
	if err != nil || !d.Fresh() || fs.String() != before {
		t.Errorf("%v\n%s", err, fs.String())
	}
	mustClose(t, d)
}

// On a real disk: permissions are warned about or refused, and what is made is closed to others.
func TestPermissions(t *testing.T) {
	fs, path := vfs.Default, filepath.Join(t.TempDir(), "a", "b")
	d, err := Open(fs, path, Options{Modes: OSModes(), StrictPermissions: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Init(identity, "a", makeBoth(fs)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.NextStoreDir(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(fs, path, Options{}); !errors.Is(err, ErrLocked) {
		t.Errorf("a second time: %v", err)
	}
	mustClose(t, d)
	for _, name := range []string{".", "log", "store-1", "store-2", "FORMAT", "STORE", "LOCK"} {
		info, err := os.Stat(filepath.Join(path, name))
		if err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v %v", name, info.Mode(), err)
		}
	}
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if d, err = Open(fs, path, Options{Modes: OSModes()}); err != nil {
		t.Fatal(err)
	}
	if w := d.Warnings(); len(w) != 1 || !strings.Contains(w[0], "0755") || !strings.Contains(w[0], "chmod 700 "+path) {
		t.Errorf("warnings: %q", w)
	}
	mustClose(t, d)
	if _, err = Open(fs, path, Options{Modes: OSModes(), StrictPermissions: true}); !errors.Is(err, ErrPermissions) {
		t.Error(err)
	}
}
