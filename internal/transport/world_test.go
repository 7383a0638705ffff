package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"

	"holdfast/internal/kind"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testCluster kind.ClusterID = 0xc1

// quick are limits under which tests wait little.
var quick = Limits{
	HelloTimeout:  2 * time.Second,
	DialTimeout:   time.Second,
	MinBackoff:    5 * time.Millisecond,
	MaxBackoff:    50 * time.Millisecond,
	ProbeInterval: 20 * time.Millisecond,
	DeadAfter:     2 * time.Second,
	LastWords:     100 * time.Millisecond,

	RefusedBackoff: 50 * time.Millisecond,
}

// member is a Transport of a test with a Handler that notes what reaches it.
type member struct {
	*Transport
	id       kind.MemberID
	listener net.Listener
	registry *prometheus.Registry
	url      string

	onReceive  func([]Message)
	onCall     func(ctx context.Context, method string, request []byte) ([]byte, error)
	onSnapshot func(from kind.MemberID, m *raftpb.Message, id uint64) (Sink, error)

	mu struct {
		sync.Mutex
		received    []Message
		unsent      []Message
		unreachable map[kind.MemberID]int
		sent        []error
		refused     []error
	}
}

type option func(*Config, *member)

// start starts a member that listens on loopback; it stops with the test.
func start(t testing.TB, id kind.MemberID, options ...option) *member {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &member{id: id, listener: l, registry: prometheus.NewRegistry(), url: "http://" + l.Addr().String()}
	m.mu.unreachable = map[kind.MemberID]int{}
	c := Config{
		Identity:   kind.Identity{Cluster: testCluster, Member: id},
		Hello:      Hello{MachineMin: 1, MachineMax: 2, Version: fmt.Sprintf("v%d", id)},
		Limits:     quick,
		Registerer: m.registry,
	}
	if tt, ok := t.(*testing.T); ok && testing.Verbose() {
		c.Logger = zaptest.NewLogger(tt).Named(id.String())
	}
	var secure *tls.Config
	plain := true
	for _, o := range options {
		o(&c, m)
	}
	c.URLs = []string{m.url}
	m.Transport = New(c)
	if s, ok := securities.LoadAndDelete(m); ok {
		secure, plain = s.(*tls.Config), false
	}
	m.SetHandler(m)
	served := make(chan error, 1)
	m.SetPeers(nil, nil)
	go func() { served <- m.Serve(l, secure, plain) }()
	t.Cleanup(func() {
		m.Close()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return m
}

// securities are the TLS settings of listeners of members that are being started.
var securities sync.Map

func limited(change func(*Limits)) option { return func(c *Config, _ *member) { change(&c.Limits) } }

// peer returns m as a peer, reached at urls or at its own.
func (m *member) peer(urls ...string) Peer {
	if len(urls) == 0 {
		urls = []string{m.url}
	}
	return Peer{m.id, urls}
}

// acquaint makes members know each other.
func acquaint(ms ...*member) {
	var peers []Peer
	for _, m := range ms {
		peers = append(peers, m.peer())
	}
	for _, m := range ms {
		m.SetPeers(peers, nil)
	}
}

func (m *member) Receive(ms []Message) {
	if m.onReceive != nil {
		m.onReceive(ms)
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.received = append(m.mu.received, ms...)
}

func (m *member) Unreachable(id kind.MemberID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.unreachable[id]++
}

func (m *member) Unsent(ms []Message) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.unsent = append(m.mu.unsent, ms...)
}

func (m *member) SnapshotSent(_ kind.MemberID, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.sent = append(m.mu.sent, err)
}

func (m *member) Snapshot(from kind.MemberID, msg *raftpb.Message, id uint64) (Sink, error) {
	if m.onSnapshot == nil {
		return nil, errors.New("no snapshot is wanted")
	}
	return m.onSnapshot(from, msg, id)
}

func (m *member) Call(ctx context.Context, _ kind.MemberID, method string, request []byte) ([]byte, error) {
	if m.onCall == nil {
		return nil, errors.New("nobody answers")
	}
	return m.onCall(ctx, method, request)
}

func (m *member) Refused(_ kind.MemberID, why error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.refused = append(m.mu.refused, why)
}

// all returns what was received so far.
func (m *member) all() []Message {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.mu.received)
}

func (m *member) refusals() []error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.mu.refused)
}

func (m *member) unsentNow() []Message {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.mu.unsent)
}

func (m *member) unreachableNow(id kind.MemberID) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mu.unreachable[id]
}

func (m *member) snapshotsSent() []error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.mu.sent)
}

// eventually waits until ok holds.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("it did not happen in time: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func heartbeat(from, to kind.MemberID, commit uint64) Message {
	return Message{From: from, To: to, Kind: KindRaft, Raft: &raftpb.Message{
		Type: raftpb.MsgHeartbeat.Enum(), From: new(uint64(from)), To: new(uint64(to)), Term: new(uint64(1)), Commit: new(commit)}}
}

func appendOf(from, to kind.MemberID, index uint64, data ...[]byte) Message {
	m := &raftpb.Message{Type: raftpb.MsgApp.Enum(), From: new(uint64(from)), To: new(uint64(to)), Term: new(uint64(3)),
		LogTerm: new(uint64(3)), Index: new(index - 1), Commit: new(index - 1)}
	for i, d := range data {
		m.Entries = append(m.Entries, &raftpb.Entry{Term: new(uint64(3)), Index: new(index + uint64(i)), Data: d})
	}
	return Message{From: from, To: to, Kind: KindRaft, Raft: m}
}

func forward(from, to kind.MemberID, text string) Message {
	return Message{From: from, To: to, Kind: KindForward, Payload: []byte(text)}
}

// proxy stands between two members and does to the bytes what a test wants.
type proxy struct {
	listener net.Listener
	target   string
	url      string
	work     sync.WaitGroup

	mu struct {
		sync.Mutex
		conns  []net.Conn
		closed bool
		broken bool // connections are dropped at once
		// mangle looks at what goes to the target, n bytes after the beginning of connection i; it may change b, and
		// ends the connection by an error after what it has returned was passed on.
		mangle func(i, n int, b []byte) ([]byte, error)
		count  int
	}
}

func newProxy(t testing.TB, target net.Addr) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, target: target.String(), url: "http://" + l.Addr().String()}
	p.work.Go(p.run)
	t.Cleanup(func() {
		_ = l.Close()
		p.mu.Lock()
		p.mu.closed = true
		p.mu.Unlock()
		p.cut()
		p.work.Wait()
	})
	return p
}

func (p *proxy) run() {
	for {
		in, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		if p.mu.broken || p.mu.closed {
			p.mu.Unlock()
			_ = in.Close()
			continue
		}
		i := p.mu.count
		p.mu.count++
		p.mu.Unlock()
		out, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = in.Close()
			continue
		}
		p.mu.Lock()
		p.mu.conns = append(p.mu.conns, in, out)
		closed := p.mu.closed
		p.mu.Unlock()
		if closed {
			_, _ = in.Close(), out.Close()
			continue
		}
		p.work.Go(func() { p.pump(i, out, in, true) })
		p.work.Go(func() { p.pump(i, in, out, false) })
	}
}

func (p *proxy) pump(i int, to, from net.Conn, forth bool) {
	defer to.Close()
	defer from.Close()
	b := make([]byte, 64*kib)
	for at := 0; ; {
		n, err := from.Read(b)
		part := b[:n]
		var end error
		if forth {
			p.mu.Lock()
			mangle := p.mu.mangle
			p.mu.Unlock()
			if mangle != nil {
				part, end = mangle(i, at, part)
			}
		}
		at += n
		if _, writeErr := to.Write(part); writeErr != nil || err != nil || end != nil {
			return
		}
	}
}

// cut breaks all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.mu.conns {
		_ = c.Close()
	}
	p.mu.conns = nil
}

// breakUp cuts, and lets nobody through from now on, or lets everybody again.
func (p *proxy) breakUp(broken bool) {
	p.mu.Lock()
	p.mu.broken = broken
	p.mu.Unlock()
	if broken {
		p.cut()
	}
}

func (p *proxy) setMangle(mangle func(i, n int, b []byte) ([]byte, error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.mangle = mangle
}

var errCut = io.ErrClosedPipe
