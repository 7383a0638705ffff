package holdfast_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	clientv3 "go.etcd.io/etcd/client/v3"

	"holdfast"
)

// small files are damaged at every byte, larger ones at this many.
const (
	smallFile = 256
	samples   = 40
)

// TestDamage: one byte of one file of a stopped member is flipped. A start is refused with a sentence that names the
// file, or the member stops with one when it meets the damage, or everything that was acknowledged is right. Wrong
// content is never served. HOLDFAST_DAMAGE multiplies the number of places.
func TestDamage(t *testing.T) {
	seed := seed(t)
	more := int(fromEnv(t, "HOLDFAST_DAMAGE", 1))
	rng := rand.New(rand.NewPCG(seed, 5))
	files, l := stoppedMember(t, seed)
	outcomes := map[string]int{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		content := files[name]
		var places []int
		if len(content) <= smallFile*more {
			for at := range content {
				places = append(places, at)
			}
		} else {
			for range samples * more {
				places = append(places, rng.IntN(len(content)))
			}
			// The unused rest of a file is most of it; what is in use is wanted more.
			used := len(strings.TrimRight(string(content), "\x00"))
			for range samples * more {
				places = append(places, rng.IntN(max(used, 1)))
			}
		}
		for _, at := range places {
			broken := maps.Clone(files)
			broken[name] = slices.Clone(content)
			broken[name][at] ^= 1 << rng.IntN(8)
			outcome, err := l.afterDamage(t, broken)
			if err != nil {
				t.Errorf("byte %d of %s, which has %d, was flipped: %v", at, name, len(content), err)
				continue
			}
			outcomes[path.Base(path.Dir(name))+"/"+strings.TrimLeft(path.Base(name), "0123456789")+": "+outcome]++
		}
	}
	for _, o := range slices.Sorted(maps.Keys(outcomes)) {
		t.Logf("%5d  %s", outcomes[o], o)
	}
}

// stoppedMember returns the files of a member that has worked, has lost its power once, and was stopped.
func stoppedMember(t *testing.T, seed uint64) (map[string][]byte, *ledger) {
	t.Helper()
	fs := vfs.NewMem()
	l := newLedger(seed, 2, 15)
	for life := range 3 {
		m := start(t, settings(), inMemory(fs))
		c := client(t, m.ClientEndpoints()[0])
		for range 60 {
			for _, b := range l.books {
				if err := b.step(within(t), c); err != nil {
					t.Fatalf("life %d: %v", life, err)
				}
			}
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
	files := map[string][]byte{}
	collect(t, fs, "data", files)
	return files, l
}

func collect(t *testing.T, fs vfs.FS, dir string, files map[string][]byte) {
	t.Helper()
	names, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		name = fs.PathJoin(dir, name)
		info, err := fs.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.IsDir() {
			collect(t, fs, name, files)
			continue
		}
		content := make([]byte, info.Size())
		f, err := fs.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.ReadAt(content, 0); err != nil && len(content) > 0 {
			t.Fatal(err)
		}
		_ = f.Close() // it was only read
		files[name] = content
	}
}

// disk makes a disk that holds files.
func disk(t *testing.T, files map[string][]byte) vfs.FS {
	t.Helper()
	fs := vfs.NewMem()
	for name, content := range files {
		if err := fs.MkdirAll(fs.PathDir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(content); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return fs
}

// afterDamage starts a member on the files and says what became of it; an error is what must not be.
func (l *ledger) afterDamage(t *testing.T, files map[string][]byte) (outcome string, wrong error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	m, err := holdfast.Start(ctx, settings(), inMemory(disk(t, files)))
	if err != nil {
		return "refused to start", sentence(err, files)
	}
	defer m.Close()
	c, err := connect(m.ClientEndpoints()[0])
	if err != nil {
		return "", err
	}
	defer c.Close()
	err = l.copy(func() {}).verify(ctx, c)
	if err == nil {
		return "everything is right", nil
	}
	if _, wrong := errors.AsType[wrongAnswer](err); wrong {
		return "", err
	}
	// A read was refused: the member must be on its way to its end, with a sentence.
	select {
	case <-m.Done():
		return "stopped when it met the damage", sentence(m.Err(), files)
	case <-ctx.Done():
		return "", fmt.Errorf("a read failed, and the member goes on: %w", err)
	}
}

// sentence tells that err names a file or at least the directory of the store or the log.
func sentence(err error, files map[string][]byte) error {
	text := err.Error()
	for name := range files {
		if strings.Contains(text, path.Base(name)) {
			return nil
		}
	}
	if strings.Contains(text, "data/log") || strings.Contains(text, "data/store-1") {
		return nil // the engine does not always say which of its files it read
	}
	return fmt.Errorf("it was refused with no more than %q", text)
}

// TestDamageOnDisk: the binary refuses a damaged directory with an exit code and the sentence on its last line.
func TestDamageOnDisk(t *testing.T) {
	s := startServer(t)
	c := client(t, s.Endpoint())
	for i := range 50 {
		if _, err := c.Put(within(t), fmt.Sprint("key", i), strings.Repeat("v", 500)); err != nil {
			t.Fatal(err)
		}
	}
	_, err := c.Get(within(t), "key", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	s.Stop()
	name := newestSegment(t, s.DataDir())
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	content[4096+600] ^= 4 // in the first records behind the header
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	r := serveOnce(t, "--data-dir", s.DataDir())
	if r.Code != 1 || !strings.Contains(r.Stderr, path.Base(name)) || !strings.Contains(r.Stderr, "offset") {
		t.Errorf("exit code %d:\n%s", r.Code, r.Stderr)
	}
	mustSay(t, run(t, "inspect", "wal", "--data-dir", s.DataDir()), 1, "DAMAGED", path.Base(name))
	mustSay(t, run(t, "inspect", "wal", "--cut", "--data-dir", s.DataDir()), 0, "Nothing has been changed")
	mustSay(t, run(t, "inspect", "store", "--check", "--data-dir", s.DataDir()), 0, "The store is whole.")
}
