package holdfast_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Over the quota what grows the store is refused, by every client, and all else goes on: reads, deletes, compactions and
// the revoking of leases.
func TestGoesOnOverQuota(t *testing.T) {
	c := settings()
	c.QuotaBackendBytes = 64 << 10
	m := start(t, c, inMemory(vfs.NewMem()))
	kv, other := client(t, m.ClientEndpoints()[0]), client(t, m.ClientEndpoints()[0])
	lease, err := kv.Grant(within(t), 1000)
	if err != nil {
		t.Fatal(err)
	}
	last := int64(0)
	for i := 0; ; i++ {
		r, err := kv.Put(within(t), fmt.Sprint("key ", i), strings.Repeat("x", 8<<10), clientv3.WithLease(lease.ID))
		if err == rpctypes.ErrNoSpace {
			break
		}
		if err != nil || i > 100 {
			t.Fatal(i, err)
		}
		last = r.Header.Revision
	}
	if _, err := other.Txn(within(t)).Then(clientv3.OpPut("a", "b")).Commit(); err != rpctypes.ErrNoSpace {
		t.Errorf("a put in a transaction: %v", err)
	}
	if _, err := other.Grant(within(t), 10); err != rpctypes.ErrNoSpace {
		t.Errorf("a grant: %v", err)
	}
	waitFor(t, "the alarm", func() bool {
		r, err := other.AlarmList(within(t))
		return err == nil && len(r.Alarms) == 1
	})
	if r, err := other.Get(within(t), "key ", clientv3.WithPrefix()); err != nil || len(r.Kvs) < 7 {
		t.Errorf("a read: %v", err)
	}
	if _, err := other.Compact(within(t), last); err != nil {
		t.Errorf("a compaction: %v", err)
	}
	if r, err := other.Delete(within(t), "key 0"); err != nil || r.Deleted != 1 {
		t.Errorf("a delete: %v", err)
	}
	if _, err := other.Revoke(within(t), lease.ID); err != nil {
		t.Errorf("a revoke: %v", err)
	}
	if s, err := other.Status(within(t), m.ClientEndpoints()[0]); err != nil || s.DbSizeInUse > 8<<10 {
		t.Errorf("live data after all is deleted: %+v, %v", s, err)
	}
	// The alarm may be on its way into the log still; then it is cleared once more.
	waitFor(t, "a put after the alarm was cleared by hand", func() bool {
		if _, err := other.AlarmDisarm(within(t), &clientv3.AlarmMember{}); err != nil {
			t.Error(err)
		}
		_, err := other.Put(within(t), "a", "b")
		return err == nil
	})
}
