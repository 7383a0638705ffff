package holdfast_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"holdfast/internal/datadir"
	"holdfast/internal/store"
)

// bend gives the newest version of a key another value in the store of a stopped member.
func bend(t *testing.T, fs vfs.FS, key string) {
	t.Helper()
	dir, err := datadir.Open(fs, "data", datadir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(fs, dir.StoreDir(), dir.Identity(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var at, record []byte
	err = db.Visit(append([]byte{store.FamilyVersion}, key+"\x00"...), append([]byte{store.FamilyVersion}, key+"\x01\x00"...), func(k, v []byte) error {
		if at == nil {
			at, record = bytes.Clone(k), bytes.Clone(v)
		}
		return nil
	})
	if at == nil {
		t.Fatalf("there is no %s: %v", key, err)
	}
	record[len(record)-1]++
	if err := errors.Join(err, db.Set(at, record, pebble.NoSync), db.Close(true), dir.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestRepairKilled: a repair that is killed, however far it has come, leaves a member that refuses or one that is whole,
// never one that answers with what was wrong; the next repair brings it to its end.
func TestRepairKilled(t *testing.T) {
	c := newCluster(t, 3)
	c.start(c.list...)
	all := c.to(c.list...)
	right := strings.Repeat("v", 2000)
	for i := range 100 {
		c.put(all, fmt.Sprintf("key%02d", i), right)
	}
	bad := c.others(c.leader())[0]
	c.stop(bad)
	bend(t, bad.fs, "key50")
	spoil(t, bad.fs)
	c.start(bad)
	others := c.to(c.others(bad)...)
	c.put(others, "after", "1")
	// serves reports whether the member answers, which it may only do with what is right.
	serves := func(through *clientv3.Client) (yes bool) {
		c.eventually("refuse or answer", func(ctx context.Context) error {
			r, err := through.Get(ctx, "key50", clientv3.WithSerializable())
			if errors.Is(err, rpctypes.ErrCorrupt) {
				return nil
			}
			if err == nil && (len(r.Kvs) != 1 || string(r.Kvs[0].Value) != right) {
				t.Fatal("it answers with what is wrong")
			}
			yes = err == nil
			return err
		})
		return yes
	}
	through := c.to(bad)
	c.eventually("refuse", func(ctx context.Context) error {
		if _, err := through.Get(ctx, "after", clientv3.WithSerializable()); !errors.Is(err, rpctypes.ErrCorrupt) {
			return fmt.Errorf("it answers %v", err)
		}
		return nil
	})
	for killed, tries := 0, 0; ; tries++ {
		if tries > 2000 {
			t.Fatal("the repair cannot begin")
		}
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		done := make(chan error, 1)
		go func() { done <- repairCall(ctx, through) }()
		pause := time.Duration(killed*killed/2) * time.Millisecond
		select {
		case err := <-done: // it was quicker, or could not begin yet
			cancel()
			if err == nil || serves(through) {
				t.Logf("after %d repairs that were killed, the last after %v, one was done", killed, pause)
				c.mustRead(through, "key50", right)
				c.mustRead(through, "after", "1")
				c.alarmed(bad, 0)
				return
			}
			<-time.After(10 * time.Millisecond)
			continue
		case <-time.After(pause):
		}
		bad.kill()
		killed++
		cancel()
		<-done
		c.start(bad)
		through = c.to(bad)
		if serves(through) {
			t.Logf("repair %d, which was killed after %v, had done its work", killed, pause)
			c.alarmed(bad, 0)
			bad.kill()
			c.start(bad)
			c.mustRead(c.to(bad), "key50", right)
			return
		}
	}
}
