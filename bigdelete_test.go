package holdfast_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"holdfast/internal/servertest"
)

// maxGrowth is how much memory one request may take, however many keys it deletes.
const maxGrowth = 512 << 20

// TestBigDeleteKilled: one request that deletes very many keys is killed in the middle and afterwards has happened
// wholly or not at all; the one that is let go to its end takes a bounded amount of memory, and other clients go on.
// HOLDFAST_BIG_DELETE is the number of keys.
func TestBigDeleteKilled(t *testing.T) {
	keys := int(fromEnv(t, "HOLDFAST_BIG_DELETE", 200_000))
	s := servertest.Start(t, "--quota-backend-bytes=-1")
	c := client(t, s.Endpoint())
	began := time.Now()
	fill(t, c, keys)
	if _, err := c.Put(within(t), "beside", "1"); err != nil {
		t.Fatal(err)
	}
	t.Logf("filled in %v; the process takes %d MiB", time.Since(began).Round(time.Millisecond), resident(t, s.Pid())>>20)
	for _, after := range []time.Duration{20, 150, 400, 1000} {
		if killDuringDelete(t, s, c, keys, after*time.Millisecond) == 0 {
			fill(t, c, keys) // it was done before the kill
		}
	}
	deleteBesideOthers(t, s, c, keys)
	if n := count(t, c); n != 0 {
		t.Errorf("%d keys are left", n)
	}
	s.Stop()
	s.Restart()
	if n := count(t, c); n != 0 {
		t.Errorf("%d keys are back after a restart", n)
	}
}

func fill(t *testing.T, c *clientv3.Client, keys int) {
	t.Helper()
	var group sync.WaitGroup
	var next atomic.Int64
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Minute)
	defer cancel()
	for range 16 {
		group.Go(func() {
			for {
				first := int(next.Add(100)) - 100
				if first >= keys || t.Failed() {
					return
				}
				var ops []clientv3.Op
				for i := first; i < min(first+100, keys); i++ {
					ops = append(ops, clientv3.OpPut(fmt.Sprintf("many/%09d", i), "a value of forty bytes, more or less, yes"))
				}
				if _, err := c.Txn(ctx).Then(ops...).Commit(); err != nil {
					t.Errorf("fill: %v", err)
					return
				}
			}
		})
	}
	group.Wait()
	if n := count(t, c); n != int64(keys) {
		t.Fatalf("%d keys, not %d", n, keys)
	}
}

func count(t *testing.T, c *clientv3.Client) int64 {
	t.Helper()
	r, err := c.Get(within(t), "many/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		t.Fatalf("count: %v", err)
	}
	return r.Count
}

// killDuringDelete returns how many keys there are after a kill, some time into the deletion.
func killDuringDelete(t *testing.T, s *servertest.Server, c *clientv3.Client, keys int, after time.Duration) int64 {
	t.Helper()
	before, err := c.Get(within(t), "beside")
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() {
		_, err := c.Delete(context.Background(), "many/", clientv3.WithPrefix())
		answered <- err
	}()
	<-time.After(after)
	s.Kill()
	acknowledged := <-answered == nil
	began := time.Now()
	s.Restart()
	restarted := time.Since(began)
	// What was in the log is applied before the port opens, so from here on nothing changes by itself.
	r, err := c.Get(within(t), "many/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("killed after %v: %d keys, revision %d to %d; the restart took %v", after, r.Count, before.Header.Revision, r.Header.Revision, restarted.Round(time.Millisecond))
	switch {
	case r.Count != 0 && r.Count != int64(keys):
		t.Fatalf("killed after %v, %d of %d keys are left", after, r.Count, keys)
	case r.Count != 0 && acknowledged:
		t.Fatalf("the deletion was acknowledged and has not happened")
	case r.Count == 0 && r.Header.Revision != before.Header.Revision+1:
		t.Fatalf("the deletion took the revision from %d to %d", before.Header.Revision, r.Header.Revision)
	case r.Count != 0 && r.Header.Revision != before.Header.Revision:
		t.Fatalf("nothing was deleted, and the revision went from %d to %d", before.Header.Revision, r.Header.Revision)
	}
	return r.Count
}

// deleteBesideOthers deletes all keys while a reader and a writer go on.
func deleteBesideOthers(t *testing.T, s *servertest.Server, c *clientv3.Client, keys int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	var others sync.WaitGroup
	over := make(chan struct{})
	var reads, writes []time.Duration
	var refused atomic.Int64
	repeat := func(took *[]time.Duration, do func(ctx context.Context, c *clientv3.Client) error) {
		others.Go(func() {
			c := client(t, s.Endpoint())
			for {
				select {
				case <-over:
					return
				default:
				}
				began := time.Now()
				if err := do(ctx, c); err != nil {
					refused.Add(1)
					t.Logf("beside the deletion, after %v: %v", time.Since(began), err)
					continue
				}
				*took = append(*took, time.Since(began))
			}
		})
	}
	repeat(&reads, func(ctx context.Context, c *clientv3.Client) error {
		r, err := c.Get(ctx, "beside")
		if err == nil && len(r.Kvs) != 1 {
			t.Error("a key beside the deleted ones is gone")
		}
		return err
	})
	repeat(&writes, func(ctx context.Context, c *clientv3.Client) error {
		_, err := c.Put(ctx, "beside", "1")
		return err
	})
	before := resident(t, s.Pid())
	most := before
	done := make(chan struct{})
	go func() {
		defer close(done)
		poll := time.NewTicker(5 * time.Millisecond)
		defer poll.Stop()
		for {
			select {
			case <-over:
				return
			case <-poll.C:
				most = max(most, resident(t, s.Pid()))
			}
		}
	}()
	began := time.Now()
	r, err := c.Delete(ctx, "many/", clientv3.WithPrefix())
	took := time.Since(began)
	if err == nil && r.Deleted != int64(keys) {
		t.Errorf("%d keys were deleted, not %d", r.Deleted, keys)
	}
	if err != nil {
		// It may take longer than a request may; then it is done all the same, and the next write comes behind it.
		t.Logf("after %v the deletion was answered with %v", took, err)
		waitFor(t, "a write behind the deletion", func() bool {
			_, err := c.Put(ctx, "behind", "1")
			return err == nil
		})
		took = time.Since(began)
	}
	close(over)
	others.Wait()
	<-done
	t.Logf("%d keys were deleted in %v; the process grew from %d MiB to %d MiB", keys, took.Round(time.Millisecond), before>>20, most>>20)
	t.Logf("meanwhile: %d reads, median %v, slowest %v; %d writes, slowest %v; %d requests refused",
		len(reads), middle(reads), slowest(reads), len(writes), slowest(writes), refused.Load())
	if most-before > maxGrowth {
		t.Errorf("the process grew by %d MiB", (most-before)>>20)
	}
	if len(reads) == 0 || slowest(reads) > 5*time.Second {
		t.Errorf("reads did not go on: %d, the slowest took %v", len(reads), slowest(reads))
	}
}

func middle(d []time.Duration) time.Duration {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return d[len(d)/2]
}

func slowest(d []time.Duration) time.Duration {
	if len(d) == 0 {
		return 0
	}
	return slices.Max(d)
}

// resident is the memory that a process takes, in bytes.
func resident(t *testing.T, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		t.Error(err)
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			if err != nil {
				t.Error(err)
			}
			return kib << 10
		}
	}
	t.Error("no VmRSS in /proc")
	return 0
}
