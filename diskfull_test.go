package holdfast_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"holdfast"
)

// failing is a disk on which some operations fail while on is set.
type failing struct {
	on    atomic.Bool
	with  error
	which func(op errorfs.Op) bool
	met   atomic.Int64 // how many have failed
}

func (f *failing) MaybeError(op errorfs.Op) error {
	if !f.on.Load() || !f.which(op) {
		return nil
	}
	f.met.Add(1)
	return &vfsError{op.Path, f.with}
}

func (f *failing) String() string { return "a failing disk" }

type vfsError struct {
	path string
	err  error
}

func (e *vfsError) Error() string { return fmt.Sprintf("%s: %v", e.path, e.err) }
func (e *vfsError) Unwrap() error { return e.err }

// writes says that an operation needs new room: the log's segments have theirs.
func needsRoom(op errorfs.Op) bool {
	switch op.Kind {
	case errorfs.OpCreate, errorfs.OpMkdirAll, errorfs.OpFileWrite, errorfs.OpFilePreallocate:
		return true
	case errorfs.OpFileWriteAt:
		return !strings.HasSuffix(op.Path, ".log") && !strings.HasSuffix(op.Path, ".spare")
	}
	return false
}

func inLog(op errorfs.Op) bool {
	return op.Path == "data/log" || strings.HasPrefix(op.Path, "data/log/")
}

func isSync(op errorfs.Op) bool {
	return op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSyncTo
}

// holdsWhatIsSafe tells that, while there is no room, writes that grow the store are refused with etcd's words, and
// reads, deletes and compactions go on.
func holdsWhatIsSafe(t *testing.T, c *clientv3.Client) {
	t.Helper()
	ctx := within(t)
	if _, err := c.Put(ctx, "more", "x"); !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Errorf("a put without room: %v", err)
	}
	if err := rpctypes.ErrGRPCNoSpace.Error(); !strings.Contains(err, "etcdserver: mvcc: database space exceeded") {
		t.Errorf("the refusal reads %q", err)
	}
	put := clientv3.OpPut("more", "x")
	if _, err := c.Txn(ctx).Then(clientv3.OpTxn(nil, []clientv3.Op{put}, nil)).Commit(); !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Errorf("a transaction with a put somewhere, without room: %v", err)
	}
	r, err := c.Get(ctx, "there", clientv3.WithPrefix())
	if err != nil || len(r.Kvs) == 0 {
		t.Fatalf("a read without room: %v, %v", r, err)
	}
	if _, err := c.Delete(ctx, string(r.Kvs[0].Key)); err != nil {
		t.Errorf("a delete without room: %v", err)
	}
	if _, err := c.Txn(ctx).Then(clientv3.OpDelete("nothing"), clientv3.OpGet("there")).Commit(); err != nil {
		t.Errorf("a transaction of a delete and a read without room: %v", err)
	}
	if _, err := c.Compact(ctx, r.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
		t.Errorf("a compaction without room: %v", err)
	}
	alarms, err := c.AlarmList(ctx)
	if err != nil || len(alarms.Alarms) != 1 || alarms.Alarms[0].Alarm.String() != "NOSPACE" {
		t.Errorf("alarms without room: %v, %v", alarms, err)
	}
}

// TestDiskFull: a disk that says that little is free. Nothing fails, and when there is room again writes go on by
// themselves.
func TestDiskFull(t *testing.T) {
	fs := vfs.NewMem()
	settings := settings()
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 40})
	m := start(t, settings, inMemory(fs))
	c := client(t, m.ClientEndpoints()[0])
	for i := range 3 {
		if _, err := c.Put(within(t), fmt.Sprint("there/", i), "x"); err != nil {
			t.Fatal(err)
		}
	}
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: uint64(settings.MinFreeBytes) - 1})
	untilRefused(t, c)
	holdsWhatIsSafe(t, c)
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 40})
	untilAccepted(t, c)
}

func untilRefused(t *testing.T, c *clientv3.Client) {
	t.Helper()
	waitFor(t, "a put to be refused", func() bool {
		_, err := c.Put(within(t), "there/x", strings.Repeat("x", 1000))
		if err != nil && !errors.Is(err, rpctypes.ErrNoSpace) {
			t.Fatalf("put: %v", err)
		}
		return err != nil
	})
}

func untilAccepted(t *testing.T, c *clientv3.Client) {
	t.Helper()
	waitFor(t, "puts to be accepted again", func() bool {
		_, err := c.Put(within(t), "there again", "x")
		if err != nil && !errors.Is(err, rpctypes.ErrNoSpace) {
			t.Fatalf("put: %v", err)
		}
		return err == nil
	})
}

// TestDiskFullForTheLog: there is no room for the log's next segment. As long as the one in use has some, that is
// room for deletes.
func TestDiskFullForTheLog(t *testing.T) {
	disk := &failing{with: syscall.ENOSPC, which: func(op errorfs.Op) bool { return inLog(op) && needsRoom(op) }}
	m := start(t, settings(), inMemory(errorfs.Wrap(vfs.NewMem(), disk)))
	c := client(t, m.ClientEndpoints()[0])
	if _, err := c.Put(within(t), "there", "x"); err != nil {
		t.Fatal(err)
	}
	disk.on.Store(true)
	// The spare segment that waits is used up by 32 KiB of puts, some at a time so that the log falls idle between
	// them; then none can be made.
	for i := 0; ; i++ {
		_, err := c.Put(within(t), fmt.Sprint("there/", i), strings.Repeat("x", 8<<10))
		if errors.Is(err, rpctypes.ErrNoSpace) {
			break
		}
		if err != nil {
			t.Fatalf("put %d: %v", i, err)
		}
		if i > 100 {
			t.Fatal("no put is refused")
		}
		if disk.met.Load() > 0 {
			untilRefused(t, c)
			break
		}
		rest := time.NewTimer(200 * time.Millisecond) // for the log to fall idle
		<-rest.C
	}
	holdsWhatIsSafe(t, c)
	disk.on.Store(false)
	untilAccepted(t, c)
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

// TestDiskFullForTheStore: the store cannot flush, and nothing has warned of it. The member stops with a sentence, and
// nothing is lost.
func TestDiskFullForTheStore(t *testing.T) {
	disk := &failing{with: syscall.ENOSPC, which: func(op errorfs.Op) bool { return !inLog(op) && needsRoom(op) }}
	err := failUnderLoad(t, disk)
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "the store") {
		t.Errorf("the member stopped with %q", err)
	}
}

// TestSyncFails holds I4 for the whole member: a sync that fails stops it, and nothing that waited for it was
// acknowledged.
func TestSyncFails(t *testing.T) {
	for name, which := range map[string]func(errorfs.Op) bool{
		"log":   func(op errorfs.Op) bool { return isSync(op) && inLog(op) },
		"store": func(op errorfs.Op) bool { return isSync(op) && !inLog(op) },
	} {
		t.Run(name, func(t *testing.T) {
			err := failUnderLoad(t, &failing{with: syscall.EIO, which: which})
			if !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), name) {
				t.Errorf("the member stopped with %q", err)
			}
		})
	}
}

// failUnderLoad lets the disk fail under load and returns why the member stopped. It has looked whether what was
// acknowledged is on the disk as the last syncs that worked have left it.
func failUnderLoad(t *testing.T, disk *failing) error {
	t.Helper()
	seed := seed(t)
	fs := vfs.NewCrashableMem()
	m := start(t, settings(), inMemory(errorfs.Wrap(fs, disk)))
	l := newLedger(seed, 4, 25)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	go func() {
		defer cancel()
		poll := time.NewTicker(time.Millisecond)
		defer poll.Stop()
		for l.writes() < 100 && ctx.Err() == nil {
			<-poll.C
		}
		disk.on.Store(true)
		select {
		case <-m.Done():
		case <-ctx.Done():
			t.Error("the member has not stopped")
		}
	}()
	l.run(ctx, func() (*clientv3.Client, error) { return connect(m.ClientEndpoints()[0]) },
		func() bool { return !disk.on.Load() }, func(err error) { t.Error(err) })
	<-ctx.Done()
	afterFailure(t, m, fs, l)
	return m.Err()
}

// afterFailure closes a member that has failed and looks at what it has left.
func afterFailure(t *testing.T, m *holdfast.Member, fs *vfs.MemFS, l *ledger) {
	t.Helper()
	left := fs.CrashClone(vfs.CrashCloneCfg{})
	if err := m.Close(); err == nil || m.Err() == nil {
		t.Error("a member that failed was closed without an error")
	}
	m = start(t, settings(), inMemory(left))
	if err := l.verify(within(t), client(t, m.ClientEndpoints()[0])); err != nil {
		t.Error(err)
	}
}

// TestAnyOperationFails: whichever operation of a member's disk fails, under load, from then on or only once, the
// member refuses writes or stops with a sentence, Close returns, and nothing acknowledged is missing.
func TestAnyOperationFails(t *testing.T) {
	rounds := int(fromEnv(t, "HOLDFAST_FAILURES", 150))
	seed := seed(t)
	rng := rand.New(rand.NewPCG(seed, 3))
	for round := range rounds {
		at := int64(1 + rng.IntN(1200))
		once := rng.IntN(2) == 0
		oneFailure(t, seed+uint64(round), at, once)
		if t.Failed() {
			t.Fatalf("round %d: operation %d failed, only that one: %v", round, at, once)
		}
	}
}

func oneFailure(t *testing.T, seed uint64, at int64, once bool) {
	t.Helper()
	var operations atomic.Int64
	disk := &failing{with: syscall.EIO, which: func(op errorfs.Op) bool {
		if op.Kind.ReadOrWrite() == errorfs.OpIsRead || op.Kind == errorfs.OpFileClose || op.Kind == errorfs.OpLock {
			return false
		}
		n := operations.Add(1)
		return n == at || n > at && !once
	}}
	disk.on.Store(true)
	fs := vfs.NewCrashableMem()
	l := newLedger(seed, 4, 25)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	m, err := holdfast.Start(ctx, settings(), inMemory(errorfs.Wrap(fs, disk)))
	if err == nil {
		go func() {
			defer cancel()
			poll := time.NewTicker(time.Millisecond)
			defer poll.Stop()
			for l.writes() < 300 && m.Err() == nil && ctx.Err() == nil {
				<-poll.C
			}
		}()
		l.run(ctx, func() (*clientv3.Client, error) { return connect(m.ClientEndpoints()[0]) },
			func() bool { return disk.met.Load() == 0 }, func(err error) { t.Error(err) })
		cancel()
		left := fs.CrashClone(vfs.CrashCloneCfg{})
		_ = m.Close() // the failure, if it has stopped
		if err := m.Err(); err != nil && len(err.Error()) < 20 {
			t.Errorf("the member stopped with no more than %q", err)
		}
		fs = left
	} else if disk.met.Load() == 0 {
		t.Fatalf("start: %v", err)
	} else {
		fs = fs.CrashClone(vfs.CrashCloneCfg{})
	}
	m = start(t, settings(), inMemory(fs))
	if err := l.verify(within(t), client(t, m.ClientEndpoints()[0])); err != nil {
		t.Error(err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}
