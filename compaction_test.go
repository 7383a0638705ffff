package holdfast_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// A member compacts by itself what is older than --auto-compaction-retention, while clients write, and compact every
// 200 ms themselves.
func TestCompactsByItself(t *testing.T) {
	c := settings()
	c.AutoCompactionRetention = "200ms"
	m := start(t, c, inMemory(vfs.NewMem()))
	kv := client(t, m.ClientEndpoints()[0])
	put := func(i int) int64 {
		r, err := kv.Put(within(t), "key", fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		return r.Header.Revision
	}
	first := put(0)
	put(1)
	waitFor(t, "the first revision to be compacted", func() bool {
		_, err := kv.Get(within(t), "key", clientv3.WithRev(first))
		return err == rpctypes.ErrCompacted
	})
	pause := time.NewTicker(200 * time.Millisecond)
	defer pause.Stop()
	for i := range 10 {
		at := put(i + 2)
		if _, err := kv.Compact(within(t), at, clientv3.WithCompactPhysical()); err != nil {
			t.Fatalf("compact to %d: %v", at, err)
		}
		if r, err := kv.Get(within(t), "key", clientv3.WithRev(at)); err != nil || string(r.Kvs[0].Value) != fmt.Sprint(i+2) {
			t.Errorf("at the compacted revision %d: %v, %v", at, r, err)
		}
		<-pause.C
	}
}
