package doctor

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/internal/datadir"
	"holdfast/internal/kind"
	"holdfast/internal/store"
	"holdfast/internal/wal"
)

// stopped makes the data directory of a member that has stopped.
func stopped(t testing.TB) string {
	t.Helper()
	m := single(t)
	client := connect(t, m.client)
	for i := range 50 {
		if _, err := client.Put(within(t), fmt.Sprintf("key-%02d", i%7), strings.Repeat("v", 100)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := client.Put(within(t), "large", strings.Repeat("x", 700_000)); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Delete(within(t), "large"); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	return m.dir
}

// copied returns a copy, whose path is short enough to stand in a sentence.
func copied(t testing.TB, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(to, 0o700); err != nil {
		t.Fatal(err)
	}
	return to
}

func diagnose(t testing.TB, path string, change ...func(*DirectoryOptions)) []Finding {
	t.Helper()
	o := DirectoryOptions{FS: vfs.Default, Modes: datadir.OSModes(), Owner: ownerOf, Limits: DefaultLimits()}
	o.Limits.FreeBytes = 0
	for _, c := range change {
		c(&o)
	}
	findings, err := Directory(within(t), path, o)
	if err != nil {
		t.Fatal(err)
	}
	return findings
}

func remove(t testing.TB, elements ...string) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(elements...)); err != nil {
		t.Fatal(err)
	}
}

func write1(t testing.TB, content []byte, elements ...string) {
	t.Helper()
	path := filepath.Join(elements...)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func read1(t testing.TB, elements ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(elements...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func only(t testing.TB, found []Finding, id, sentence string) {
	t.Helper()
	expect(t, found, id, sentence)
	if len(found) != 1 {
		t.Errorf("%d conditions were found: %+v", len(found), found)
	}
}

func TestDirectories(t *testing.T) {
	whole := stopped(t)
	t.Run("whole", func(t *testing.T) {
		dir := copied(t, whole)
		only(t, diagnose(t, dir), "oversized-value", `The value of the key "large" has 700 kB; many such values make every snapshot and every restart slow.`)
		if found := diagnose(t, dir, func(o *DirectoryOptions) { o.Limits.ValueBytes = 1 << 20 }); len(found) > 0 {
			t.Errorf("a whole directory has these findings: %+v", found)
		}
	})
	// What follows is about other things than that value.
	diagnose := func(t testing.TB, path string, change ...func(*DirectoryOptions)) []Finding {
		t.Helper()
		return diagnose(t, path, append(change, func(o *DirectoryOptions) { o.Limits.ValueBytes = 1 << 20 })...)
	}
	t.Run("missing", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "nothing")
		only(t, diagnose(t, path), "no-directory", "There is no data directory at "+path+".")
	})
	t.Run("file", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "file")
		write1(t, nil, path)
		only(t, diagnose(t, path), "not-a-directory", path+" is a file, not a data directory.")
	})
	t.Run("unreadable", func(t *testing.T) {
		dir := copied(t, whole)
		remove(t, dir, "LOCK")
		if err := os.Mkdir(filepath.Join(dir, "LOCK"), 0o700); err != nil {
			t.Fatal(err)
		}
		only(t, diagnose(t, dir), "directory-unreadable", "The data directory "+dir+" cannot be read: lock "+dir+"/LOCK: open "+dir+"/LOCK: is a directory.")
	})
	t.Run("etcd", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		write1(t, nil, dir, "member", "snap", "db")
		found := diagnose(t, dir)
		only(t, found, "etcd-directory", dir+" is the data directory of an etcd member, which Holdfast does not open.")
		if want := "\"holdfast import " + dir + " --data-dir=<new directory>\""; !strings.Contains(found[0].Advice, want) {
			t.Errorf("the advice does not name the command: %s", found[0].Advice)
		}
	})
	t.Run("in use", func(t *testing.T) {
		m := single(t)
		only(t, diagnose(t, m.dir), "directory-in-use", "The data directory "+m.dir+" is in use by another process, so its files were not looked at.")
	})
	t.Run("no FORMAT", func(t *testing.T) {
		dir := copied(t, whole)
		remove(t, dir, "FORMAT")
		only(t, diagnose(t, dir), "no-format-file", dir+" holds a log or a store but no file FORMAT, so that nobody can tell whose data it is.")
	})
	t.Run("newer", func(t *testing.T) {
		dir := copied(t, whole)
		write1(t, read1(t, "..", "datadir", "testdata", "FORMAT.v2"), dir, "FORMAT")
		found := diagnose(t, dir)
		for i, f := range found {
			if before, _, ok := strings.Cut(f.Sentence, ": "); ok {
				found[i].Sentence = before
			}
		}
		only(t, found, "newer-format", "The data in "+dir+" was written by a newer version of Holdfast")
	})
	t.Run("file damaged", func(t *testing.T) {
		dir := copied(t, whole)
		write1(t, bytes.Replace(read1(t, dir, "STORE"), []byte("store-1"), []byte("store-2"), 1), dir, "STORE")
		found := diagnose(t, dir)
		for i, f := range found {
			if before, _, ok := strings.Cut(f.Sentence, " at offset"); ok {
				found[i].Sentence = before
			}
		}
		only(t, found, "file-damaged", dir+"/STORE is damaged")
	})
	t.Run("store without log", func(t *testing.T) {
		dir := copied(t, whole)
		remove(t, dir, "log")
		only(t, diagnose(t, dir), "store-without-log", dir+" holds a store but no log. What was acknowledged last stands only in the log.")
	})
	t.Run("log without store", func(t *testing.T) {
		dir := copied(t, whole)
		remove(t, dir, "store-1")
		only(t, diagnose(t, dir), "log-without-store", dir+" holds a log but no store. The log does not go back to the beginning.")
	})
	t.Run("incomplete", func(t *testing.T) {
		dir := copied(t, whole)
		remove(t, dir, "STORE")
		only(t, diagnose(t, dir), "directory-incomplete", dir+" is not complete: "+dir+" holds no file STORE, so it cannot be told which of its stores is current. "+
			"Bring the file back, or restore the member from a backup.")
	})
	t.Run("permissions", func(t *testing.T) {
		dir := copied(t, whole)
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		only(t, diagnose(t, dir), "directory-open", "The data directory "+dir+" is open to other users: its mode is 0755.")
	})
	t.Run("owner", func(t *testing.T) {
		dir := copied(t, whole)
		foreign := func(o *DirectoryOptions) { // only root can give a file away
			o.Owner = func(path string) (uint32, error) {
				if strings.HasPrefix(path, filepath.Join(dir, "store-1")+"/") {
					return 4242, nil
				}
				return 77, nil
			}
		}
		entries, err := os.ReadDir(filepath.Join(dir, "store-1"))
		if err != nil {
			t.Fatal(err)
		}
		only(t, diagnose(t, dir, foreign), "wrong-owner", filepath.Join(dir, "store-1", entries[0].Name())+" belongs to the user with number 4242, but the data directory to 77.")
	})
	t.Run("two stores", func(t *testing.T) {
		dir := copied(t, whole)
		if err := os.Mkdir(filepath.Join(dir, "store-2"), 0o700); err != nil {
			t.Fatal(err)
		}
		only(t, diagnose(t, dir), "two-stores", dir+" holds store-1 and store-2, of which only store-1 is used; the rest takes up space.")
	})
	t.Run("foreign file", func(t *testing.T) {
		dir := copied(t, whole)
		write1(t, nil, dir, "notes.txt")
		only(t, diagnose(t, dir), "foreign-file", dir+"/notes.txt is not of a data directory's layout.")
	})
	t.Run("no member yet", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		only(t, diagnose(t, dir), "no-member-yet", dir+" holds no member yet.")
	})
	t.Run("disk", func(t *testing.T) {
		found := diagnose(t, copied(t, whole), func(o *DirectoryOptions) { o.Limits.FreeBytes = 1 << 62 })
		for i, f := range found {
			if before, after, ok := strings.Cut(f.Sentence, " are free on the disk of "); ok && strings.HasPrefix(before, "Only ") && strings.HasSuffix(after, "/data.") {
				found[i].Sentence = "Only # are free"
			}
		}
		only(t, found, "directory-disk-full", "Only # are free")
	})
	t.Run("quarantine", func(t *testing.T) {
		dir := copied(t, whole)
		d, err := datadir.Open(vfs.Default, dir, datadir.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := d.SetQuarantine("after entry 77 the digest differed", false); err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		only(t, diagnose(t, dir), "quarantine-mark", "The member was put into quarantine: after entry 77 the digest differed.")
	})
	t.Run("log damaged", func(t *testing.T) {
		dir := copied(t, whole)
		segments, err := filepath.Glob(filepath.Join(dir, "log", "*.log"))
		if err != nil || len(segments) == 0 {
			t.Fatal("no segment", err)
		}
		b := read1(t, segments[0])
		at := bytes.Index(b, []byte("key-03")) // within an entry that others follow
		b[at] ^= 4
		write1(t, b, segments[0])
		found := diagnose(t, dir)
		for i, f := range found {
			if before, after, ok := strings.Cut(f.Sentence, "at offset "); ok {
				_, after, _ = strings.Cut(after, " ")
				found[i].Sentence = before + "at offset # " + after[:min(len(after), len("of ,")+len(segments[0]))]
			}
		}
		only(t, found, "log-damaged", "The log is damaged: at offset # of "+segments[0]+",")
	})
	t.Run("log of another", func(t *testing.T) {
		dir := copied(t, whole)
		emptyLog(t, dir)
		found := diagnose(t, dir)
		for i, f := range found {
			if before, _, ok := strings.Cut(f.Sentence, ": the store has applied entry "); ok {
				found[i].Sentence = before
			}
		}
		expect(t, found, "log-of-another", "The log does not continue the store")
	})
	t.Run("store wrong", func(t *testing.T) {
		dir := copied(t, whole)
		forgetVersion(t, dir)
		found := diagnose(t, dir)
		for i, f := range found {
			if before, after, ok := strings.Cut(f.Sentence, ": "); ok && f.ID == "store-wrong" && after != "" {
				found[i].Sentence = before
			}
		}
		expect(t, found, "store-wrong", "The store does not agree with itself")
	})
	t.Run("table damaged", func(t *testing.T) {
		dir := copied(t, whole)
		tables, err := filepath.Glob(filepath.Join(dir, "store-1", "*.sst"))
		if err != nil || len(tables) == 0 {
			t.Fatal("no table", err)
		}
		for _, table := range tables {
			b := read1(t, table)
			b[len(b)/3] ^= 1
			write1(t, b, table)
		}
		found := diagnose(t, dir)
		for i, f := range found {
			if before, after, ok := strings.Cut(f.Sentence, dir+"/store-1/"); ok && strings.Contains(after, "sst") {
				found[i].Sentence = before
			}
		}
		expect(t, found, "table-damaged", "The store is damaged: in file ")
	})
}

// emptyLog replaces the log of a directory with one that the same member had before it had written anything, as a copy
// of an earlier day would be.
func emptyLog(t testing.TB, dir string) {
	t.Helper()
	d, err := datadir.Open(vfs.Default, dir, datadir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	remove(t, dir, "log")
	if err := wal.Create(vfs.Default, d.LogDir(), d.Identity(), kind.Position{Term: 1, Index: 1}, wal.Options{SegmentBytes: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// forgetVersion removes the newest version of the first key from a store, behind the back of its history.
func forgetVersion(t testing.TB, dir string) {
	t.Helper()
	d, err := datadir.Open(vfs.Default, dir, datadir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(vfs.Default, d.StoreDir(), d.Identity(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var first []byte
	lower, upper := store.FamilyBounds(store.FamilyVersion)
	if err := db.Visit(lower, upper, func(key, _ []byte) error {
		if first == nil {
			first = bytes.Clone(key)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := db.DB.Delete(first, pebble.NoSync); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Close(true), d.Close()); err != nil {
		t.Fatal(err)
	}
}
