package node

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/raft/v3"
	"go.uber.org/zap"

	"holdfast/internal/kind"
	"holdfast/internal/machine"
	"holdfast/internal/member"
	"holdfast/internal/mvcc"
	"holdfast/internal/replica"
	"holdfast/internal/store"
	"holdfast/internal/transport"
	"holdfast/internal/wal"
)

// network carries messages between the nodes of a test, each after a delay, in order for a pair of members.
type network struct {
	t     testing.TB
	delay time.Duration
	mu    struct {
		sync.Mutex
		ends map[kind.MemberID]*end
		cut  map[[2]kind.MemberID]bool // messages from the first to the second get lost
		// lose says which messages get lost beside that; nil for none.
		lose func(m transport.Message) bool
		// twice says which are delivered two times.
		twice func(m transport.Message) bool
		sent  map[transport.Kind]int
		sends int
	}
}

// end is a member's side of the network: its node's Transport.
type end struct {
	net  *network
	id   kind.MemberID
	node *Node
	box  mailbox[parcel]
	gone chan struct{}
}

type parcel struct {
	at time.Time
	ms []transport.Message
}

func newNetwork(t testing.TB, delay time.Duration) *network {
	n := &network{t: t, delay: delay}
	n.mu.ends = make(map[kind.MemberID]*end)
	n.mu.cut = make(map[[2]kind.MemberID]bool)
	n.mu.sent = make(map[transport.Kind]int)
	return n
}

func (n *network) join(id kind.MemberID) *end {
	e := &end{net: n, id: id, box: newMailbox[parcel](), gone: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mu.ends[id] = e
	return e
}

// run delivers what arrives for a member until it leaves.
func (e *end) run() {
	var parcels []parcel
	for {
		parcels = e.box.take(parcels)
		for _, p := range parcels {
			if wait := time.Until(p.at); wait > 0 {
				select {
				case <-time.After(wait):
				case <-e.gone:
					return
				}
			}
			e.node.Receive(p.ms)
		}
		if len(parcels) > 0 {
			continue
		}
		select {
		case <-e.box.wake:
		case <-e.gone:
			return
		}
	}
}

func (e *end) leave() {
	e.net.mu.Lock()
	defer e.net.mu.Unlock()
	if e.net.mu.ends[e.id] == e {
		delete(e.net.mu.ends, e.id)
	}
	close(e.gone)
}

func (e *end) SetPeers([]transport.Peer, []kind.MemberID) {}

func (e *end) Send(ms []transport.Message) {
	n := e.net
	var unsent []transport.Message
	lost := make(map[kind.MemberID]bool)
	n.mu.Lock()
	n.mu.sends++
	perTarget := make(map[kind.MemberID][]transport.Message)
	var order []kind.MemberID
	for _, m := range ms {
		n.mu.sent[m.Kind]++
		switch {
		case n.mu.ends[m.To] == nil:
			if m.Kind == transport.KindForward {
				unsent = append(unsent, m)
			}
			lost[m.To] = true
			continue
		case n.mu.cut[[2]kind.MemberID{m.From, m.To}], n.mu.lose != nil && n.mu.lose(m):
			lost[m.To] = true
			continue
		}
		if perTarget[m.To] == nil {
			order = append(order, m.To)
		}
		perTarget[m.To] = append(perTarget[m.To], m)
		if n.mu.twice != nil && n.mu.twice(m) {
			perTarget[m.To] = append(perTarget[m.To], m)
		}
	}
	for _, to := range order {
		n.mu.ends[to].box.put(parcel{time.Now().Add(n.delay), perTarget[to]})
	}
	n.mu.Unlock()
	for to := range lost {
		e.node.Unreachable(to)
	}
	if len(unsent) > 0 {
		e.node.Unsent(unsent)
	}
}

func (e *end) SendSnapshot(src transport.Source) {
	to := kind.MemberID(src.Message().GetTo())
	_ = src.Close()
	e.node.SnapshotSent(to, transport.ErrUnreachable)
}

func (e *end) Call(context.Context, kind.MemberID, string, []byte) ([]byte, error) {
	return nil, transport.ErrUnreachable
}

func (e *end) Active(id kind.MemberID) (since time.Time, ok bool) {
	e.net.mu.Lock()
	defer e.net.mu.Unlock()
	return time.Time{}, e.net.mu.ends[id] != nil && !e.net.mu.cut[[2]kind.MemberID{e.id, id}] && !e.net.mu.cut[[2]kind.MemberID{id, e.id}]
}

func (e *end) Hello(kind.MemberID) (transport.Hello, bool) { return transport.Hello{}, false }

// cut separates one member from all others, in both directions.
func (n *network) cut(id kind.MemberID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for other := range n.mu.ends {
		if other != id {
			n.mu.cut[[2]kind.MemberID{id, other}] = true
			n.mu.cut[[2]kind.MemberID{other, id}] = true
		}
	}
}

func (n *network) heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.mu.cut)
}

// seat is a member of a test's cluster: its files, and its node while it runs.
type seat struct {
	*Node
	t       testing.TB
	net     *network
	end     *end
	fs      *vfs.MemFS
	id      kind.Identity
	boot    uint64
	change  func(*Config)
	wrap    func(*seat) vfs.FS
	db      *store.DB
	log     *wal.Log
	machine *machine.Machine
	stopRun context.CancelFunc
	ended   chan error
	running bool
	life    atomic.Pointer[Node] // for goroutines of a test that go on over lives
}

const testTick = 10 * time.Millisecond

// seats makes a cluster of n members on disks in memory and starts them; change may alter the settings of each.
func seats(t testing.TB, n int, change func(*Config)) (*network, []*seat) {
	t.Helper()
	return seatsOn(t, n, change, func(s *seat) vfs.FS { return s.fs })
}

// seatsOn is seats on disks that wrap may alter.
func seatsOn(t testing.TB, n int, change func(*Config), wrap func(*seat) vfs.FS) (*network, []*seat) {
	t.Helper()
	var list []member.Member
	for i := range n {
		list = append(list, member.Member{Name: fmt.Sprint(i), PeerURLs: []string{fmt.Sprintf("http://127.0.0.1:%d", 2380+i)}})
	}
	cluster, list, err := member.Genesis("test", list)
	check(t, err)
	net := newNetwork(t, time.Millisecond/5)
	var all []*seat
	for i := range list {
		s := &seat{t: t, net: net, fs: vfs.NewCrashableMem(), change: change, wrap: wrap,
			id: kind.Identity{Cluster: cluster, Member: list[i].ID, Incarnation: uint64(i + 1)}}
		check(t, store.Create(s.fs, "store", s.id, func(set func(key, value []byte)) error { machine.Genesis(set, list); return nil }))
		check(t, wal.Create(s.fs, "log", s.id, kind.Position{Index: 1, Term: 1}, wal.Options{SegmentBytes: 1 << 20}))
		all = append(all, s)
		s.start()
	}
	t.Cleanup(func() {
		for _, s := range all {
			s.stop()
		}
	})
	return net, all
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// start begins a life of the member.
func (s *seat) start() {
	s.t.Helper()
	var err error
	fail := func(error) {}
	fs := s.wrap(s)
	s.db, err = store.Open(fs, "store", s.id, store.Options{BlockCacheBytes: 1 << 20, MemTableBytes: s.memTable(), OnFailure: func(err error) { fail(err) }})
	check(s.t, err)
	applied, err := s.db.Applied()
	check(s.t, err)
	s.log, err = wal.Open(fs, "log", s.id, wal.Witness{Applied: applied.Position}, wal.Options{SegmentBytes: 1 << 20})
	check(s.t, err)
	kv, err := mvcc.Open(s.db, mvcc.Options{})
	check(s.t, err)
	s.machine, err = machine.Open(s.db, kv, machine.Options{})
	check(s.t, err)
	rep, err := replica.Open(replica.Config{Member: s.id.Member, Log: s.log, Machine: s.machine, ElectionTicks: 10, HeartbeatTicks: 1,
		PreVote: true, Logger: quiet{new(raft.DefaultLogger)}})
	check(s.t, err)
	s.boot++
	s.end = s.net.join(s.id.Member)
	c := Config{
		Identity: s.id, Boot: uint64(s.id.Member) + s.boot, Replica: rep, Logger: zap.NewNop(), Metrics: NewMetrics(prometheus.NewRegistry()),
		Transport: s.end, TickInterval: testTick, ElectionTimeout: 10 * testTick, MaxRequestBytes: 4 << 20, FS: fs, Dir: "store",
	}
	if s.change != nil {
		s.change(&c)
	}
	s.Node = New(c)
	s.end.node = s.Node
	s.life.Store(s.Node)
	fail = s.Fail
	ctx, cancel := context.WithCancel(context.Background())
	s.stopRun, s.ended, s.running = cancel, make(chan error, 1), true
	go s.end.run()
	ended, node := s.ended, s.Node
	go func() { ended <- node.Run(ctx) }()
}

// stop ends a life of the member and returns what Run has returned.
func (s *seat) stop() error {
	if !s.running {
		return nil
	}
	s.running = false
	s.stopRun()
	err := <-s.ended
	s.end.leave()
	s.close()
	return err
}

// kill ends a life as a power cut does: the network is gone first, and of the files only what was synced is left.
func (s *seat) kill() {
	s.running = false
	s.end.leave()
	left := s.fs.CrashClone(vfs.CrashCloneCfg{})
	s.stopRun()
	<-s.ended
	s.close()
	s.fs = left
}

func (s *seat) close() {
	_ = s.machine.Close()
	_ = s.log.Close()
	_ = s.db.Close(false)
}

// until waits for a condition.
func until(t testing.TB, what string, met func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !met() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 30 s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// leader waits until the members that run agree on a leader that knows the time, and returns it.
func leader(t testing.TB, all []*seat) *seat {
	t.Helper()
	var found *seat
	until(t, "a leader", func() bool {
		found = nil
		for _, s := range all {
			if !s.running {
				continue
			}
			if _, leads := s.ClusterTime(); leads {
				found = s
			}
		}
		if found == nil {
			return false
		}
		for _, s := range all {
			if st := s.Status(); s.running && (st.Leader != found.id.Member || st.Term != found.Status().Term) {
				return false
			}
		}
		return true
	})
	return found
}

// others are the members that run, but for one.
func others(all []*seat, not *seat) []*seat {
	var list []*seat
	for _, s := range all {
		if s != not && s.running {
			list = append(list, s)
		}
	}
	return list
}

// bubble runs a test in time of its own.
func bubble(t *testing.T, run func(t *testing.T)) { synctest.Test(t, run) }

func write(t testing.TB, s *seat, key, value string) machine.Reply {
	t.Helper()
	reply, err := s.Propose(t.Context(), put(key, value))
	if err != nil || reply.Err != nil {
		t.Fatalf("put %s through member %v: %v, %v", key, s.id.Member, err, reply.Err)
	}
	return reply
}

// TestCluster: members elect a leader, a write reaches all of them, and the rest goes on when the leader stops.
func TestCluster(t *testing.T) {
	for _, n := range []int{3, 5} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				_, all := seats(t, n, nil)
				for round := range 2 {
					first := leader(t, all)
					for i := range 20 {
						write(t, first, fmt.Sprintf("%d/%d", round, i), "x")
					}
					for _, s := range others(all, nil) {
						check(t, s.ReadIndex(t.Context()))
						if have := s.Keys(); have != int64(20*(round+1)) {
							t.Errorf("member %v has %d keys after %d", s.id.Member, have, 20*(round+1))
						}
					}
					if round == 1 {
						break
					}
					if err := first.stop(); err != nil {
						t.Errorf("Run: %v", err)
					}
					if second := leader(t, all); second == first {
						t.Error("a stopped member leads")
					}
				}
				for _, s := range all {
					if !s.running {
						s.start()
					}
				}
				last := leader(t, all)
				until(t, "the one that was away has everything", func() bool {
					for _, s := range all {
						if s.Status().Applied < last.Status().Applied {
							return false
						}
					}
					return true
				})
				for _, s := range all {
					if s.Keys() != 40 || s.machine.State().Digest != last.machine.State().Digest {
						t.Errorf("member %v has %d keys, or another state", s.id.Member, s.Keys())
					}
				}
			})
		})
	}
}

// memTable is small in tests, so that files are written and merged, and large enough in benchmarks.
func (s *seat) memTable() uint64 {
	if _, bench := s.t.(*testing.B); bench {
		return 64 << 20
	}
	return 1 << 20
}
