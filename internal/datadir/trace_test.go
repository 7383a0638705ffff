package datadir

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// The order of the operations that change the disk is part of D1 to D3, and vfs.MemFS cannot show all of it: a
// removal that was not synced never survives its power cuts. So the order itself is held by testdata/trace.txt.
func TestOrderOfOperations(t *testing.T) {
	var trace strings.Builder
	mem := vfs.NewCrashableMem()
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if verb := verbs[op.Kind]; verb != "" {
			fmt.Fprintf(&trace, "  %s %s\n", verb, strings.TrimPrefix(op.Path, root+"/"))
		}
		return nil
	}))
	step := func(title string, do func() error) {
		t.Helper()
		fmt.Fprintf(&trace, "%s\n", title)
		if err := do(); err != nil {
			t.Fatal(err)
		}
	}
	var d *Dir
	open := func() (err error) {
		d, err = Open(fs, root, Options{})
		return err
	}
	step("open where nothing is", open)
	step("init", func() error { return d.Init(identity, "alpha", func(string, string) error { return nil }) })
	step("close", func() error { return d.Close() })
	step("open again", open)
	step("next store, switch, remove the stale", func() error {
		name, _, err := d.NextStoreDir()
		if err == nil {
			err = d.SwitchStore(name)
		}
		if err == nil {
			err = d.RemoveStaleStores()
		}
		return err
	})
	mustClose(t, d)
	mustWrite(t, mem, root+"/"+markerName, string(encodeMarker([]string{logName, storeName, "store-1"})))
	step("open when the marker was left behind", open)
	mustClose(t, d)
	mustWrite(t, mem, root+"/"+markerName, string(encodeMarker([]string{logName, storeName, "store-2"})))
	if err := mem.Remove(root + "/" + formatName); err != nil {
		t.Fatal(err)
	}
	step("open when init was interrupted", open)
	mustClose(t, d)

	if *rewrite {
		if err := os.WriteFile("testdata/trace.txt", []byte(trace.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want := golden(t, "trace.txt"); trace.String() != want {
		t.Errorf("the order of operations changed to\n%s", trace.String())
	}
}

var verbs = map[errorfs.OpKind]string{
	errorfs.OpCreate: "create", errorfs.OpRemove: "remove", errorfs.OpRemoveAll: "remove all of", errorfs.OpRename: "rename",
	errorfs.OpMkdirAll: "make directory", errorfs.OpLock: "lock", errorfs.OpFileWrite: "write", errorfs.OpFileSync: "sync",
}
