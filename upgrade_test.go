package holdfast_test

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"holdfast/internal/servertest"
)

// upgradable is three real members of which each can be started by the build of this version of the machine or by the next.
type upgradable struct {
	t       *testing.T
	next    string // the binary that knows one version more
	members []*servertest.Server
	made    []servertest.Member
}

func newUpgradable(t *testing.T) *upgradable {
	u := &upgradable{t: t, next: filepath.Join(t.TempDir(), "holdfast-next")}
	if words, err := exec.Command("go", "build", "-tags", "machine_next", "-o", u.next, "holdfast/cmd/holdfast").CombinedOutput(); err != nil {
		t.Fatalf("go build -tags machine_next: %v\n%s", err, words)
	}
	var initial []string
	for i := range 3 {
		m := servertest.Member{Name: fmt.Sprint("m", i), DataDir: filepath.Join(t.TempDir(), fmt.Sprint("m", i)),
			Client: "http://" + servertest.FreeAddress(t), Peer: "http://" + servertest.FreeAddress(t)}
		initial = append(initial, m.Name+"="+m.Peer)
		u.made = append(u.made, m)
	}
	for i := range u.made {
		m := &u.made[i]
		m.Flags = []string{"--initial-advertise-peer-urls", m.Peer, "--initial-cluster", strings.Join(initial, ","), "--initial-cluster-token", t.Name()}
		u.members = append(u.members, servertest.NewMember(t, *m))
	}
	for _, s := range u.members {
		s.Launch()
	}
	for _, s := range u.members {
		u.ready(s)
	}
	return u
}

func (u *upgradable) ready(s *servertest.Server) {
	u.t.Helper()
	if err := s.Ready(); err != nil {
		u.t.Fatalf("a member does not answer: %v\n%s", err, s.Output())
	}
}

// change starts a member again, by the next build or by this one. The command before the binary takes its place.
func (u *upgradable) change(i int, next bool) {
	u.t.Helper()
	u.members[i].Stop()
	m := u.made[i]
	if next {
		m.Through = []string{"sh", "-c", "shift; exec " + u.next + ` "$@"`, "sh"} // drops the binary that servertest names
	}
	u.members[i] = servertest.NewMember(u.t, m)
	u.members[i].Launch()
	u.ready(u.members[i])
}

func (u *upgradable) endpoints() (all []string) {
	for _, m := range u.made {
		all = append(all, m.Client)
	}
	return all
}

func (u *upgradable) raised() bool {
	for _, s := range u.members {
		if strings.Contains(s.Output(), "later version of the machine") {
			return true
		}
	}
	return false
}

// TestRollingUpgrade: under load, members are replaced one after the other by those of a build that knows one more version
// of the machine, and back, before all of them know it: nothing changes. When the last knows it, all act in it from the same
// entry on: no member differs and no alarm is raised, no acknowledged write is lost. After that the old build refuses, with
// a sentence.
func TestRollingUpgrade(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds another binary and runs three members of each")
	}
	u := newUpgradable(t)
	c, err := clientv3.New(clientv3.Config{Endpoints: u.endpoints(), Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, stop := context.WithCancel(context.Background())
	var group sync.WaitGroup
	var written [4]atomic.Int64 // the last acknowledged number of each writer
	for w := range written {
		group.Go(func() {
			for n := int64(1); ctx.Err() == nil; n++ {
				once, cancel := context.WithTimeout(ctx, 10*time.Second)
				if _, err := c.Put(once, fmt.Sprint("writer", w), fmt.Sprint(n)); err == nil {
					written[w].Store(n)
				}
				cancel()
			}
		})
	}
	defer group.Wait()
	defer stop()
	progress := func(what string) {
		t.Helper()
		before := written[0].Load()
		for deadline := time.Now().Add(patience); written[0].Load() < before+50; {
			if time.Now().After(deadline) {
				t.Fatalf("%s: no writes", what)
			}
			time.Sleep(10 * time.Millisecond)
		}
		for compared := time.Now().Add(1200 * time.Millisecond); time.Now().Before(compared); { // twice the time between two marks
			time.Sleep(10 * time.Millisecond)
		}
		r, err := c.AlarmList(within(t))
		if err != nil || len(r.Alarms) != 0 {
			t.Fatalf("%s: the alarms are %v, %v", what, r, err)
		}
		for _, s := range u.members {
			if strings.Contains(s.Output(), "whose state differs") || strings.Contains(s.Output(), "states differ") {
				t.Fatalf("%s: a member has found a difference:\n%s", what, s.Output())
			}
		}
	}
	progress("at first")
	u.change(0, true)
	progress("one is upgraded")
	u.change(1, true)
	progress("two are upgraded")
	u.change(0, false)
	progress("one goes back")
	u.change(0, true)
	progress("two are upgraded again")
	if u.raised() {
		t.Fatal("the version was raised although a member does not know it")
	}
	u.change(2, true)
	for deadline := time.Now().Add(patience); !u.raised(); {
		if time.Now().After(deadline) {
			t.Fatal("the version is not raised although every member knows it")
		}
		time.Sleep(50 * time.Millisecond)
	}
	progress("all are upgraded")
	stop()
	group.Wait()
	for w := range written {
		r, err := c.Get(within(t), fmt.Sprint("writer", w))
		if err != nil || len(r.Kvs) != 1 {
			t.Fatal(err)
		}
		var n int64
		if _, err := fmt.Sscan(string(r.Kvs[0].Value), &n); err != nil || n < written[w].Load() {
			t.Errorf("writer %d has acknowledged %d and reads %d", w, written[w].Load(), n)
		}
	}
	hashes := map[uint32]bool{}
	rev := head(t, c)
	for _, e := range u.endpoints() {
		h, err := c.HashKV(within(t), e, rev)
		if err != nil {
			t.Fatal(err)
		}
		hashes[h.Hash] = true
	}
	if len(hashes) != 1 {
		t.Errorf("the members have %d hashes", len(hashes))
	}

	u.members[0].Stop()
	old := servertest.NewMember(t, u.made[0])
	old.Launch()
	if err := old.Wait(patience); err == nil || !strings.Contains(old.Output(), "newer version of Holdfast") {
		t.Errorf("the old build on a newer store: %v\n%s", err, old.Output())
	}
}
