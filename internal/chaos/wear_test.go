package chaos

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// change asks the cluster for a change of its members until it is made.
func (f *fleet) change(what string, do func(ctx context.Context, c *clientv3.Client) error) {
	f.t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		err := do(ctx, f.leader().client)
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			f.t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// TestReplaceMembers holds that every member, one after the other, can be replaced by a new one under load: it is killed,
// a learner takes its place, catches up and is promoted, and no guarantee is hurt.
func TestReplaceMembers(t *testing.T) {
	f := newFleet(t, 3, 500*time.Millisecond)
	l := f.work(seedOf(t), 6, 15)
	old := append([]*box(nil), f.members...)
	for _, b := range old[:fromEnv(t, "HOLDFAST_CHAOS_REPLACE", 1)] {
		f.pass(f.election)
		f.kill(b)
		l.writes(f.live(), "one of three is dead")
		b.gone.Store(true)
		f.change("remove "+b.name, func(ctx context.Context, c *clientv3.Client) error {
			_, err := c.MemberRemove(ctx, b.id)
			return err
		})
		fresh := f.add("")
		var id uint64
		f.change("add "+fresh.name, func(ctx context.Context, c *clientv3.Client) error {
			r, err := c.MemberAddAsLearner(ctx, []string{fresh.address})
			if err == nil {
				id = r.Member.ID
			}
			return err
		})
		f.setFlags(fresh, "existing")
		f.launch(fresh)
		f.change("promote "+fresh.name, func(ctx context.Context, c *clientv3.Client) error {
			_, err := c.MemberPromote(ctx, id)
			return err
		})
		f.ready(fresh)
		l.writes([]*box{fresh}, fresh.name+" has taken the place of "+b.name)
	}
	l.finish()
}

// TestFullDisk holds that a cluster with a member whose disk is full refuses what it must and goes on by itself when there is
// room again, and that nothing is lost. The disk is a small file system of the test's own.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=600m", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("a small file system cannot be mounted here (root can): %v: %s", err, out)
	}
	// The fleet's own cleanup comes before this one, since it was asked for later.
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", dir).CombinedOutput(); err != nil {
			t.Errorf("the small file system stays mounted: %v: %s", err, out)
		}
	})
	f := emptyFleet(t, 500*time.Millisecond)
	f.add(filepath.Join(dir, "data"))
	f.add("")
	f.add("")
	f.start()
	small := f.members[0]
	l := f.work(seedOf(t), 6, 15)
	l.writes(f.live(), "nothing is wrong")

	ballast := filepath.Join(dir, "ballast")
	file, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	chunk := make([]byte, 1<<20)
	for err == nil {
		_, err = file.Write(chunk)
	}
	file.Close()
	t.Logf("the disk of %s is full: %v", small.name, err)
	// The alarm of one member has all refuse what makes stores grow, as etcd's does. Reads go on, and so do deletes.
	f.pass(6 * f.election)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, err := f.members[1].client.Get(ctx, "a"); err != nil {
		t.Errorf("a read while the disk of one member is full: %v", err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if !small.Alive() {
		t.Logf("%s had stopped, and is started again", small.name)
		_ = small.Wait(time.Second) // With which code it ended is not what this test is about.
		f.restart(small)
	}
	l.writes(f.live(), "there is room on the disk again")
	l.finish()
}
