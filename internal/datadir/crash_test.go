package datadir

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// The fault model of these tests: at a power cut everything synced is there; of everything else, file contents by
// block and directory entries one by one, any part may be there. Before each file operation, clones of the disk
// as it might come back are taken: with nothing, some and all of what was not synced.

// clones collects what may be found after a crash before any single operation of run, and after the last: at each
// of them the synced state and 4*rounds others.
func clones(t *testing.T, mem *vfs.MemFS, rounds int, run func(fs vfs.FS) error) []*vfs.MemFS {
	t.Helper()
	var found []*vfs.MemFS
	random := rand.New(rand.NewPCG(7, 7))
	takeAll := func() {
		found = append(found, mem.CrashClone(vfs.CrashCloneCfg{}))
		for range rounds {
			for _, percent := range []int{20, 50, 80, 100} {
				found = append(found, mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: random}))
			}
		}
	}
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			takeAll()
		}
		return nil
	}))
	if err := run(fs); err != nil {
		t.Fatal(err)
	}
	takeAll()
	return found
}

// A power cut at any moment of Init leaves a directory that is fresh or complete, never one that is refused (D1, D2);
// after Init has returned it is complete. A fresh one can be made, through a second power cut too.
func TestPowerCutDuringInit(t *testing.T) {
	mem := vfs.NewCrashableMem()
	found := clones(t, mem, 4, initialise)
	fresh, complete := 0, 0
	for i, disk := range found {
		name := fmt.Sprintf("clone %d", i)
		if checkFreshOrComplete(t, name, disk) {
			complete++
			continue
		}
		fresh++
		if i%29 == 0 { // A second crash, while the first is being cleared up.
			for j, second := range clones(t, disk, 1, initialise) {
				checkFreshOrComplete(t, fmt.Sprintf("%s, then clone %d", name, j), second)
			}
		}
	}
	if fresh == 0 || complete == 0 {
		t.Errorf("of %d clones %d were fresh and %d complete; the test saw only one side", len(found), fresh, complete)
	}
	for i, disk := range found[len(found)-5:] {
		if !checkFreshOrComplete(t, fmt.Sprintf("final clone %d", i), disk) {
			t.Errorf("Init had returned, but final clone %d is fresh", i)
		}
	}
}

func initialise(fs vfs.FS) error {
	d, err := Open(fs, root, Options{})
	if err != nil {
		return err
	}
	return errors.Join(d.Init(identity, "alpha", makeBoth(fs)), d.Close())
}

// checkFreshOrComplete opens a disk and, where it is complete, checks that it is whole.
func checkFreshOrComplete(t *testing.T, name string, disk vfs.FS) (complete bool) {
	t.Helper()
	d, err := Open(disk, root, Options{})
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	defer mustClose(t, d)
	if d.Fresh() {
		names, err := disk.List(root)
		if err != nil || len(names) != 1 {
			t.Errorf("%s: fresh, but holds %q (%v)", name, names, err)
		}
		return false
	}
	if d.Identity() != identity || d.Name() != "alpha" {
		t.Errorf("%s: belongs to %v, %q", name, d.Identity(), d.Name())
	}
	checkWhole(t, name, disk, d.LogDir())
	checkWhole(t, name, disk, d.StoreDir())
	if _, err := disk.Stat(root + "/" + markerName); err == nil {
		t.Errorf("%s: complete, but the marker is still there", name)
	}
	return true
}

func checkWhole(t *testing.T, name string, disk vfs.FS, dir string) {
	t.Helper()
	f, err := disk.Open(disk.PathJoin(dir, "content"))
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	content, err := io.ReadAll(f)
	if err = errors.Join(err, f.Close()); err != nil || string(content) != "whole" {
		t.Errorf("%s: %s holds %q, %v", name, dir, content, err)
	}
}

// A power cut at any moment of a switch leaves the old or the new store current, and that one whole (D3).
func TestPowerCutDuringSwitch(t *testing.T) {
	mem := made(t)
	seen := map[string]int{}
	found := clones(t, mem, 8, func(fs vfs.FS) error {
		d, err := Open(fs, root, Options{})
		if err != nil {
			return err
		}
		name, path, err := d.NextStoreDir()
		return errors.Join(err, fill(fs, path), d.SwitchStore(name), d.RemoveStaleStores(), d.Close())
	})
	for i, disk := range found {
		name := fmt.Sprintf("clone %d", i)
		if !checkFreshOrComplete(t, name, disk) {
			t.Errorf("%s is fresh", name)
			continue
		}
		d := mustOpen(t, disk)
		seen[d.StoreDir()]++
		if err := d.RemoveStaleStores(); err != nil {
			t.Error(err)
		}
		if i >= len(found)-5 && d.StoreDir() != root+"/store-2" {
			t.Errorf("SwitchStore had returned, but %s is at %s", name, d.StoreDir())
		}
		mustClose(t, d)
		checkFreshOrComplete(t, name+", after removing what is stale", disk)
	}
	if seen[root+"/store-1"] == 0 || seen[root+"/store-2"] == 0 {
		t.Errorf("the test saw only one side: %v", seen)
	}
}

var errDisk = errors.New("the disk says no")

// failing returns a file system whose n-th operation fails, counted from 0.
func failing(fs vfs.FS, n int) vfs.FS {
	return errorfs.Wrap(fs, errorfs.InjectorFunc(func(errorfs.Op) error {
		n--
		if n == -1 {
			return errDisk
		}
		return nil
	}))
}

// Each single file operation of Init and of a switch fails once: the error is reported, the lock is given back, and
// the directory opens again.
func TestEveryOperationFailsOnce(t *testing.T) {
	for n := 0; ; n++ {
		mem := vfs.NewCrashableMem()
		err := initialise(failing(mem, n))
		if err == nil {
			if n < 20 {
				t.Errorf("Init did only %d operations; the test tests nothing", n)
			}
			break
		}
		if !errors.Is(err, errDisk) {
			t.Errorf("operation %d: %v", n, err)
		}
		checkFreshOrComplete(t, fmt.Sprintf("after failure %d", n), mem)
		checkFreshOrComplete(t, fmt.Sprintf("after failure %d and a power cut", n), mem.CrashClone(vfs.CrashCloneCfg{}))
	}
	for n := 0; ; n++ {
		mem := made(t)
		d := mustOpen(t, mem)
		d.fs = failing(mem, n)
		name, path, err := d.NextStoreDir()
		if err == nil {
			err = errors.Join(fill(mem, path), d.SwitchStore(name))
		}
		if err == nil {
			break
		}
		if !errors.Is(err, errDisk) {
			t.Errorf("operation %d: %v", n, err)
		}
		mustClose(t, d)
		checkFreshOrComplete(t, fmt.Sprintf("after failure %d of a switch", n), mem)
		checkFreshOrComplete(t, fmt.Sprintf("after failure %d of a switch and a power cut", n), mem.CrashClone(vfs.CrashCloneCfg{}))
	}
}
