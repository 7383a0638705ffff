package holdfast_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/types/known/emptypb"

	"holdfast"
	"holdfast/internal/datadir"
	"holdfast/internal/store"
)

// spoil lets the state of a stopped member part from the others': a counter of its store is wrong afterwards.
func spoil(t *testing.T, fs vfs.FS) {
	t.Helper()
	dir, err := datadir.Open(fs, "data", datadir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(fs, dir.StoreDir(), dir.Identity(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	a, err := db.Applied()
	if err != nil {
		t.Fatal(err)
	}
	a.LiveKeys++
	a.LiveBytes++
	if err := errors.Join(db.Set(store.AppliedKey(), store.EncodeApplied(a), pebble.NoSync), db.Close(true), dir.Close()); err != nil {
		t.Fatal(err)
	}
}

// alarmed waits until a member lists the alarm CORRUPT against an id, or none.
func (c *cluster) alarmed(m *one, id uint64) {
	c.t.Helper()
	client := c.to(m)
	c.eventually("list the alarm", func(ctx context.Context) error {
		r, err := client.AlarmList(ctx)
		if err != nil {
			return err
		}
		found := uint64(0)
		for _, a := range r.Alarms {
			if a.Alarm == etcdserverpb.AlarmType_CORRUPT {
				found = a.MemberID
			}
		}
		if found != id {
			return fmt.Errorf("the alarms are %v", r.Alarms)
		}
		return nil
	})
}

func repairCall(ctx context.Context, c *clientv3.Client) error {
	return c.ActiveConnection().Invoke(ctx, "/holdfast.v1.Cluster/Repair", &emptypb.Empty{}, &emptypb.Empty{})
}

// TestQuarantine: the member whose state differs refuses reads and writes within two seconds of the entry, ends its
// watches, raises its alarm, and stays so over a restart; the others serve. A repair fetches its state, and it serves what
// the others have, to reads, watches and the hash alike.
func TestQuarantine(t *testing.T) {
	for _, leading := range []bool{false, true} {
		t.Run(fmt.Sprintf("leading=%v", leading), func(t *testing.T) {
			c := newCluster(t, 3)
			c.start(c.list...)
			all := c.to(c.list...)
			for i := range 50 {
				c.put(all, fmt.Sprint("key", i), strings.Repeat("v", 100))
			}
			bad := c.others(c.leader())[0]
			c.stop(bad)
			spoil(t, bad.fs)
			c.start(bad)
			if leading {
				c.eventually("let it lead", func(ctx context.Context) error {
					_, err := c.to(c.leader()).MoveLeader(ctx, holdfast.ID(bad.Member))
					if c.leader() == bad {
						return nil
					}
					return errors.Join(err, errors.New("another leads"))
				})
			}
			through, id := c.to(bad), holdfast.ID(bad.Member)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			watch := through.Watch(clientv3.WithRequireLeader(ctx), "key", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
			<-watch

			others := c.to(c.others(bad)...)
			c.put(others, "after", "1")
			began := time.Now()
			c.eventually("refuse", func(ctx context.Context) error {
				_, err := through.Get(ctx, "after", clientv3.WithSerializable())
				if errors.Is(err, rpctypes.ErrCorrupt) {
					return nil
				}
				return fmt.Errorf("it answers %v", err)
			})
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("it refuses after %v", took)
			}
			c.eventually("end the watch", func(ctx context.Context) error {
				select {
				case r, open := <-watch:
					if !open || r.Err() != nil {
						return nil
					}
					return errors.New("it goes on")
				case <-ctx.Done():
					return ctx.Err()
				}
			})
			if _, err := through.Put(within(t), "x", ""); !errors.Is(err, rpctypes.ErrCorrupt) {
				t.Errorf("a write through it: %v", err)
			}
			for _, m := range c.list {
				c.alarmed(m, id)
			}
			if c.leader() == bad {
				t.Error("it leads")
			}
			c.mustRead(others, "after", "1")

			c.stop(bad)
			c.start(bad)
			through = c.to(bad)
			if _, err := through.Get(within(t), "after", clientv3.WithSerializable()); !errors.Is(err, rpctypes.ErrCorrupt) {
				t.Errorf("after a restart: %v", err)
			}
			for i := range 30 {
				c.put(others, fmt.Sprint("key", i), "new")
			}
			c.eventually("repair", func(ctx context.Context) error { return repairCall(ctx, through) })
			c.mustRead(through, "after", "1")
			c.put(through, "repaired", "yes")
			c.mustRead(others, "repaired", "yes")
			for _, m := range c.list {
				c.alarmed(m, 0)
			}
			if err := repairCall(within(t), through); err == nil || !strings.Contains(err.Error(), "nothing to repair") {
				t.Errorf("another repair: %v", err)
			}
			rev := head(t, others)
			var hashes []uint32
			for _, m := range c.list {
				c.mustRead(c.to(m), "repaired", "yes")
				h, err := c.to(m).HashKV(within(t), "http://"+m.client, rev)
				if err != nil {
					t.Fatal(err)
				}
				hashes = append(hashes, h.Hash)
			}
			if hashes[0] != hashes[1] || hashes[1] != hashes[2] {
				t.Errorf("the hashes are %v", hashes)
			}
			c.stop(bad)
			c.start(bad)
			c.mustRead(c.to(bad), "repaired", "yes")
		})
	}
}

// head is the revision of the cluster.
func head(t *testing.T, c *clientv3.Client) int64 {
	t.Helper()
	r, err := c.Get(within(t), "nothing")
	if err != nil {
		t.Fatal(err)
	}
	return r.Header.Revision
}

// TestRepairDamage: a member whose store is damaged has stopped; started again it serves nothing and leaves the store as it
// is, and a repair brings it back.
func TestRepairDamage(t *testing.T) {
	c := newCluster(t, 3)
	c.start(c.list...)
	all := c.to(c.list...)
	for i := range 200 {
		c.put(all, fmt.Sprint("key", i), strings.Repeat("v", 1000))
	}
	bad := c.others(c.leader())[0]
	c.stop(bad)
	dir, err := datadir.Open(bad.fs, "data", datadir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	collect(t, bad.fs, dir.StoreDir(), files)
	largest := ""
	for name, content := range files {
		if strings.HasSuffix(name, ".sst") && len(content) > len(files[largest]) {
			largest = name
		}
	}
	f, err := bad.fs.OpenReadWrite(largest, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	at := len(files[largest]) / 3 * 2 // among the versions of keys
	if _, err := f.WriteAt([]byte{files[largest][at] ^ 0x55}, int64(at)); err != nil {
		t.Fatal(err)
	}
	// What a member does that has met the damage.
	if err := errors.Join(f.Close(), dir.SetQuarantine("the store is damaged in file "+largest, true), dir.Close()); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		c.put(c.to(c.others(bad)...), fmt.Sprint("key", i), "new")
	}
	c.start(bad)
	through := c.to(bad)
	if _, err := through.Get(within(t), "key1", clientv3.WithSerializable()); !errors.Is(err, rpctypes.ErrCorrupt) {
		t.Errorf("it answers %v", err)
	}
	c.eventually("repair", func(ctx context.Context) error { return repairCall(ctx, through) })
	c.mustRead(through, "key1", "new")
	c.mustRead(through, "key100", strings.Repeat("v", 1000))
	c.alarmed(bad, 0)
	c.stop(bad)
	c.start(bad)
	c.mustRead(c.to(bad), "key1", "new")
}
