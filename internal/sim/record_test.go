package sim

import (
	"context"
	"fmt"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"holdfast/internal/kind"
	"holdfast/internal/sim/check"
)

// TestRecord tells a story for each row of etcd's own record of what broke its guarantees (tests/robustness/README.md of
// etcd): the number is that of its issue. Each says where the trap lies for us.
func TestRecord(t *testing.T) {
	tell(t, []corner{
		// etcd wrote the index of what it had applied by a side effect: a crash between the two applied an entry twice.
		{title: "13766 all members lose their power under load and apply nothing twice", tell: func(s *story) {
			s.load.start(4, 1, 2)
			for range 3 {
				s.Sleep(700 * time.Millisecond)
				for _, h := range s.hosts {
					h.crash(true, "the power fails")
				}
				s.Sleep(50 * time.Millisecond)
				for _, h := range s.hosts {
					h.startIfDown()
				}
				s.must("all serve again", 30*time.Second, s.allServe)
			}
		}},
		// A single member answered before its own disk had the entry.
		{title: "14370 a single member whose power fails after an answer has the write", members: 1, tell: func(s *story) {
			h := s.hosts[0]
			for i := range 8 {
				s.written(h, "a", fmt.Sprint(i))
				h.crash(true, "the power fails")
				s.begun(h)
				if r := s.done(h, get("a")); len(r.Range.Result.KVs) != 1 || r.Range.Result.KVs[0].Value != fmt.Sprint(i) {
					s.wrong("write %d is lost: %v", i, r)
				}
			}
		}},
		// Entries that only changed users did not move the applied index: after a restart they were applied again.
		{title: "14571 users are made and auth is switched on under load and members restart", tell: func(s *story) {
			s.load.start(3, 0, 1)
			h := s.led()
			for _, what := range []string{"user add root", "role add root", "grant root root", "role add r", "user add alice", "grant alice r", "allow r a z"} {
				s.done(h, check.Operation{Auth: &check.Auth{What: what}})
			}
			if err := s.call(h, func(ctx context.Context, conn grpc.ClientConnInterface) error {
				_, err := pb.NewAuthClient(conn).AuthEnable(ctx, &pb.AuthEnableRequest{})
				return err
			}); err != nil {
				s.wrong("auth is not switched on: %v", err)
			}
			s.Sleep(500 * time.Millisecond)
			if r := s.do(h, put("a", "1")); r.Outcome != check.Refused {
				s.wrong("a write of nobody was not refused: %v", r)
			}
			o := s.others(h)[0]
			o.crash(true, "the power fails")
			s.begun(o)
			if err := s.call(o, func(ctx context.Context, conn grpc.ClientConnInterface) error {
				r, err := pb.NewAuthClient(conn).Authenticate(ctx, &pb.AuthenticateRequest{Name: "root", Password: "secret"})
				if err != nil {
					return err
				}
				ctx = metadata.AppendToOutgoingContext(metadata.NewIncomingContext(ctx, metadata.Pairs("token", r.Token)), "token", r.Token)
				_, err = pb.NewAuthClient(conn).AuthDisable(ctx, &pb.AuthDisableRequest{})
				return err
			}); err != nil {
				s.wrong("auth is not switched off: %v", err)
			}
		}},
		// A crash while space is won back must lose nothing: for us it is the engine that merges its tables.
		{title: "14685 the power fails while tables are flushed and merged", tell: func(s *story) {
			s.load.start(4, 0, 1)
			for i := range 3 {
				h := s.hosts[i]
				s.fill(s.led(), 30)
				h.compactEngine()
				s.Sleep(time.Duration(1+i*3) * time.Millisecond)
				h.crash(true, "the power fails")
				s.Sleep(100 * time.Millisecond)
				s.begun(h)
			}
		}},
		// Progress was told to watchers that had not been given everything.
		{title: "15220 progress waits for a slow watcher on a member that lags", tell: func(s *story) {
			h := s.others(s.led())[0]
			s.watchOn(everything(), 400*time.Millisecond, h)
			s.load.start(4, 0, 0)
			s.Sleep(time.Second)
			s.cut(h, true, true)
			s.Sleep(2 * time.Second)
			s.mendAll()
			s.load.stopped = true
			s.must("progress is told", 30*time.Second, func() bool { return s.counts.m["progress notifications"] > 0 })
		}},
		// A watcher that came from the other side of a partition was given events that it had seen.
		{title: "15271 watchers go back and forth over a partition and never back in time", tell: func(s *story) {
			l := s.led()
			s.watchOn(everything(), 0, s.hosts...)
			s.watchOn(everything(), 30*time.Millisecond, l, s.others(l)[0])
			s.load.start(3, 0, 0)
			for range 3 {
				l := s.led()
				s.cut(l, true, true)
				s.Sleep(2500 * time.Millisecond)
				for _, x := range s.openWatchers() { // clients go over to another member in the midst of it
					x.finish("the client goes elsewhere")
				}
				s.Sleep(500 * time.Millisecond)
				s.mendAll()
				s.Sleep(time.Second)
			}
		}},
		// After a crash entries are applied again: watchers that came back were given their events again.
		{title: "17247 a member applies entries again after a crash and its watchers get no event twice", tell: func(s *story) {
			h := s.others(s.led())[0]
			s.watchOn(everything(), 0, h)
			s.load.start(4, 0, 0)
			for range 3 {
				s.Sleep(600 * time.Millisecond)
				h.crash(true, "the power fails")
				s.begun(h)
			}
		}},
		// Large answers and many watchers on one connection starved each other.
		{title: "17529 forty slow watchers do not starve a fast one", tell: func(s *story) {
			h := s.led()
			for range 40 {
				s.watchOn(everything(), 60*time.Millisecond, h)
			}
			fast := s.watch(h, 1)
			s.load.start(4, 0, 0)
			for i := range 20 {
				r := s.written(h, "seen", fmt.Sprint(i))
				if !s.Until(500*time.Millisecond, func() bool { return got(fast, "seen", r) }) {
					s.wrong("the fast watcher has not been given revision %d within half a second", r)
					return
				}
			}
		}},
		// A restart after a compaction at a tombstone counted the revisions anew, too low.
		{title: "17780 the last revision is a compacted delete and survives a restart", members: 1, tell: func(s *story) {
			h := s.hosts[0]
			s.written(h, "a", "1")
			r := s.done(h, del("a")).Delete.Result.Revision
			s.done(h, compactAt(r))
			for _, cut := range []bool{true, false} {
				h.compactEngine()
				s.Sleep(200 * time.Millisecond)
				h.crash(cut, "it ends")
				s.begun(h)
				if at := s.done(h, get("a")).Range.Result.Revision; at != r {
					s.wrong("revision %d after the restart, %d before", at, r)
				}
			}
			if next := s.written(h, "b", "1"); next != r+1 {
				s.wrong("the next revision is %d after %d", next, r)
			}
		}},
		// Compaction at the revision of a delete dropped the delete for watchers that started there.
		{title: "18089 a watcher that starts at a compacted delete is given it", tell: func(s *story) {
			h := s.led()
			s.written(h, "a", "1")
			r := s.done(h, del("a")).Delete.Result.Revision
			s.written(h, "b", "1")
			s.done(h, compactAt(r))
			s.Sleep(time.Second)
			for _, o := range s.hosts {
				o.compactEngine()
			}
			s.Sleep(time.Second)
			for _, o := range s.hosts {
				x := s.watch(o, r)
				s.must("the delete is told", 5*time.Second, func() bool { return got(x, "a", r) })
			}
		}},
		// Two snapshots under way at once made the leader panic.
		{title: "18055 two members need a snapshot at once and the leader is asked for both again", members: 5, options: Options{Sizes: shortLog}, tell: func(s *story) {
			s.load.start(2, 0, 1)
			for range 2 {
				away := s.others(s.led())[:2]
				for _, h := range away {
					h.crash(false, "it is away")
				}
				s.fill(s.led(), 150)
				for _, h := range away {
					h.start()
				}
				s.Sleep(30 * time.Millisecond)
				s.mendAll()
				for _, h := range away { // in the midst of it both are gone once more
					h.crash(true, "the power fails")
					h.start()
				}
				s.must("both are back", 40*time.Second, s.allServe)
			}
			if s.counts.m["sent snapshots"] < 2 {
				s.wrong("snapshots were not needed: %v", s.counts.m)
			}
		}},
		// A transaction that reads what is compacted failed on some members, after others had done its writes.
		{title: "18667 a transaction that reads a compacted revision does nothing anywhere", tell: func(s *story) {
			h := s.led()
			s.written(h, "a", "1")
			r := s.written(h, "a", "2")
			s.done(h, compactAt(r))
			for _, o := range s.hosts {
				op := s.do(o, check.Operation{Txn: &check.Txn{Then: []check.TxnOp{
					{Put: &check.Put{Key: "b", Value: "never " + o.name}}, {Range: &check.Range{Key: "a", Revision: r - 1}}}}})
				if op.Outcome != check.Refused {
					s.wrong("%v", op)
				}
			}
			s.Sleep(500 * time.Millisecond)
			h.crash(true, "the power fails")
			s.begun(h)
		}},
		// A watcher that starts at the compacted revision missed the delete of a transaction that put and deleted.
		{title: "19179 a watcher from the compacted revision is given all of its transaction", tell: func(s *story) {
			h := s.led()
			s.written(h, "a", "1")
			s.written(h, "c", "1")
			r := s.done(h, check.Operation{Txn: &check.Txn{Then: []check.TxnOp{{Delete: &check.Delete{Key: "a"}}, {Put: &check.Put{Key: "b", Value: "1"}},
				{Delete: &check.Delete{Key: "c"}}}}}).Txn.Result.Revision
			s.written(h, "a", "2")
			s.done(h, compactAt(r))
			s.Sleep(time.Second)
			o := s.others(h)[0]
			x, y := s.watch(o, r), s.watch(h, r)
			s.must("all three are told", 5*time.Second, func() bool {
				return got(x, "a", r) && got(x, "b", r) && got(x, "c", r) && got(y, "a", r) && got(y, "b", r) && got(y, "c", r)
			})
		}},
		// A watcher of the future was given what lay between, from a member that was behind, or after a restart.
		{title: "20221 watchers of the future get nothing from before it on members that lag or restart", tell: func(s *story) {
			h := s.led()
			s.fill(h, 10)
			o := s.others(h)[0]
			s.cut(o, true, true)
			now := s.fill(h, 10)
			for i := range kind.Revision(6) { // the member has not seen now yet
				s.watch(o, now+i*3-2)
				s.watch(h, now+i*3+100_000)
			}
			s.mendAll()
			s.fill(h, 20)
			o.crash(true, "the power fails")
			s.begun(o)
			s.watch(o, now+200)
			s.fill(h, 10)
		}},
		// The pages of a store that was being read were used again: for us, tables are merged away under readers.
		{title: "20271 reads of the past go on while tables are merged and the past is compacted", tell: func(s *story) {
			h := s.led()
			s.load.start(3, 0, 1)
			for range 4 {
				at := s.fill(h, 25)
				told, _ := s.begin(h, check.Operation{Range: &check.Range{Key: "fill/", End: "fill0", Revision: at - 20}})
				s.done(h, compactAt(at-10))
				h.compactEngine()
				s.done(h, check.Operation{Range: &check.Range{Key: "fill/", End: "fill0", Revision: at - 5}})
				s.must("the read is over", giveUp, func() bool { return *told })
			}
		}},
		// A process that stood still while another was elected went on as leader and answered reads from what it knew.
		{title: "20418 a leader that stood still answers no read from before", tell: func(s *story) {
			for _, machine := range []bool{true, false} {
				old := s.led()
				s.written(old, "a", "old")
				told, asked := s.begin(old, get("a"))
				old.pause(machine)
				s.must("another leads", 20*time.Second, func() bool { l := s.leader(); return l != nil && l != old && l.life.serves() })
				s.written(s.led(), "a", "new")
				more, later := s.begin(old, get("a"))
				old.resume()
				s.must("the reads have come to an end", 2*giveUp, func() bool { return *told && *more })
				if later.Outcome == check.Done && later.Range.Result.KVs[0].Value != "new" {
					s.wrong("a stale read: %v", later)
				}
				_ = asked
			}
		}},
	})
}
