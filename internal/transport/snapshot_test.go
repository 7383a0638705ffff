package transport

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"holdfast/internal/kind"
)

// source is a snapshot in memory.
type source struct {
	id     uint64
	to     uint64
	chunks [][]byte
	fail   func(n uint64) error
	closed chan struct{}
}

func newSource(to kind.MemberID, id uint64, chunks, size int) *source {
	s := &source{id: id, to: uint64(to), closed: make(chan struct{})}
	r := rand.New(rand.NewPCG(id, 1))
	for range chunks {
		c := make([]byte, size)
		for i := range c {
			c[i] = byte(r.Uint32())
		}
		s.chunks = append(s.chunks, c)
	}
	return s
}

func (s *source) ID() uint64 { return s.id }
func (s *source) Message() *raftpb.Message {
	return &raftpb.Message{Type: raftpb.MsgSnap.Enum(), From: new(uint64(1)), To: new(s.to), Term: new(uint64(4)),
		Snapshot: &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{Index: new(uint64(77)), Term: new(uint64(4)), ConfState: &raftpb.ConfState{Voters: []uint64{1, s.to}}}}}
}

func (s *source) Chunk(n uint64) ([]byte, error) {
	if s.fail != nil {
		if err := s.fail(n); err != nil {
			return nil, err
		}
	}
	if n >= uint64(len(s.chunks)) {
		return nil, io.EOF
	}
	return s.chunks[n], nil
}

func (s *source) Size() int64 { return int64(len(s.chunks)) * int64(len(s.chunks[0])) }

func (s *source) Close() error {
	close(s.closed)
	return nil
}

// sink is where a snapshot is put together.
type sink struct {
	mu struct {
		sync.Mutex
		first    uint64
		got      bytes.Buffer
		next     uint64
		writes   int
		finished int
		aborted  []error
	}
	onWrite  func(n uint64) error
	onFinish func() error
}

func (s *sink) Next() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.next
}

func (s *sink) Write(n uint64, chunk []byte) error {
	if s.onWrite != nil {
		if err := s.onWrite(n); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n != s.mu.next {
		return fmt.Errorf("chunk %d, want %d", n, s.mu.next)
	}
	s.mu.next++
	s.mu.writes++
	s.mu.got.Write(chunk)
	return nil
}

func (s *sink) Finish() error {
	if s.onFinish != nil {
		if err := s.onFinish(); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.finished++
	return nil
}

func (s *sink) Abort(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.aborted = append(s.mu.aborted, why)
}

// check reports how the sink differs from one that has got all of src, once.
func (s *sink) check(t *testing.T, src *source) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.finished != 1 || len(s.mu.aborted) != 0 || s.mu.writes != len(src.chunks) || !bytes.Equal(s.mu.got.Bytes(), bytes.Join(src.chunks, nil)) {
		t.Errorf("finished %d times, aborted %v, %d writes of %d, the same bytes: %v", s.mu.finished, s.mu.aborted, s.mu.writes, len(src.chunks),
			bytes.Equal(s.mu.got.Bytes(), bytes.Join(src.chunks, nil)))
	}
}

// into makes a member take snapshots into sinks, one after another.
func into(sinks ...*sink) option {
	return func(_ *Config, m *member) {
		var mu sync.Mutex
		m.onSnapshot = func(from kind.MemberID, msg *raftpb.Message, _ uint64) (Sink, error) {
			mu.Lock()
			defer mu.Unlock()
			if from != 1 || msg.GetSnapshot().GetMetadata().GetIndex() != 77 || len(msg.GetSnapshot().GetMetadata().GetConfState().GetVoters()) != 2 {
				return nil, fmt.Errorf("it is announced as %v", msg)
			}
			if len(sinks) == 0 {
				return nil, errors.New("there is no room for another")
			}
			s := sinks[0]
			sinks = sinks[1:]
			return s, nil
		}
	}
}

// send sends src and returns how that ended.
func (m *member) sendAndWait(t *testing.T, src *source) error {
	t.Helper()
	before := len(m.snapshotsSent())
	m.SendSnapshot(src)
	eventually(t, "the snapshot is sent, or is not", func() bool { return len(m.snapshotsSent()) > before })
	<-src.closed
	return m.snapshotsSent()[before]
}

// A snapshot arrives whole, and is counted.
func TestSnapshot(t *testing.T) {
	s := &sink{}
	a, b := start(t, 1), start(t, 2, into(s))
	acquaint(a, b)
	src := newSource(2, 9, 20, 100_000)
	if err := a.sendAndWait(t, src); err != nil {
		t.Fatal(err)
	}
	s.check(t, src)
	if valueOf(t, a.registry, "etcd_network_snapshot_send_success", "2") != 1 || valueOf(t, b.registry, "etcd_network_snapshot_receive_success", "1") != 1 ||
		valueOf(t, a.registry, "etcd_network_snapshot_send_inflights_total", "2") != 0 ||
		valueOf(t, a.registry, "etcd_network_snapshot_send_total_duration_seconds", "2") != 1 {
		t.Error("it is not counted")
	}
	if err := a.sendAndWait(t, newSource(2, 10, 1, 10)); err == nil || !strings.Contains(err.Error(), "there is no room for another") {
		t.Errorf("refused: %v", err)
	}
	if valueOf(t, a.registry, "etcd_network_snapshot_send_failures", "2") != 1 || valueOf(t, b.registry, "etcd_network_snapshot_receive_failures", "1") != 1 {
		t.Error("the failure is not counted")
	}
	if err := a.sendAndWait(t, newSource(7, 11, 1, 10)); !errors.Is(err, ErrUnknownPeer) {
		t.Errorf("to a stranger: %v", err)
	}
}

// chunkFrames calls visit for each frame of the snapshot connections that pass a proxy.
type frameSplitter struct {
	rest []byte
	seen bool // the hello has passed
}

// feed returns the complete frames that b completes.
func (f *frameSplitter) feed(b []byte) (frames [][]byte) {
	f.rest = append(f.rest, b...)
	if !f.seen {
		if len(f.rest) < helloHeaderBytes {
			return nil
		}
		n := helloHeaderBytes + int(binary.BigEndian.Uint16(f.rest[len(preface):]))
		if len(f.rest) < n {
			return nil
		}
		frames = append(frames, f.rest[:n])
		f.rest, f.seen = f.rest[n:], true
	}
	for len(f.rest) >= frameHeaderBytes {
		n := 8 + int(binary.BigEndian.Uint32(f.rest))
		if len(f.rest) < n {
			break
		}
		frames = append(frames, f.rest[:n])
		f.rest = f.rest[n:]
	}
	return frames
}

// onChunks makes a proxy pass whole frames; do gets each chunk, may change it, and cuts the connection by false.
func (p *proxy) onChunks(do func(n uint64, frame []byte) bool) {
	splitters := map[int]*frameSplitter{}
	p.setMangle(func(i, _ int, b []byte) ([]byte, error) {
		p.mu.Lock()
		f := splitters[i]
		if f == nil {
			f = &frameSplitter{}
			splitters[i] = f
		}
		p.mu.Unlock()
		var out []byte
		for _, fr := range f.feed(b) {
			if fr[0] == 0 && fr[8] == frameChunk && !do(binary.BigEndian.Uint64(fr[frameHeaderBytes:]), fr) {
				return out, errCut
			}
			out = append(out, fr...)
		}
		return out, nil
	})
}

// A transfer that is cut at each of its chunks, once, goes on where the receiver is (resume), and no chunk is written
// twice.
func TestSnapshotResumes(t *testing.T) {
	s := &sink{}
	a, b := start(t, 1), start(t, 2, into(s))
	p := newProxy(t, b.listener.Addr())
	var mu sync.Mutex
	cut := map[uint64]bool{}
	passed := 0
	p.onChunks(func(n uint64, _ []byte) bool {
		mu.Lock()
		defer mu.Unlock()
		if !cut[n] {
			cut[n] = true
			return false
		}
		passed++
		return true
	})
	a.SetPeers([]Peer{b.peer(p.url)}, nil)
	b.SetPeers([]Peer{a.peer()}, nil)
	src := newSource(2, 5, 12, 5000)
	if err := a.sendAndWait(t, src); err != nil {
		t.Fatal(err)
	}
	s.check(t, src)
	mu.Lock()
	defer mu.Unlock()
	if len(cut) != 12 || passed != 12 {
		t.Errorf("%d cuts; %d chunks passed, want each once", len(cut), passed)
	}
}

// A bit that flips on the way is noticed, and what was hit is sent again.
func TestSnapshotFlips(t *testing.T) {
	s := &sink{}
	a, b := start(t, 1), start(t, 2, into(s))
	p := newProxy(t, b.listener.Addr())
	var mu sync.Mutex
	flips := 0
	p.onChunks(func(n uint64, fr []byte) bool {
		mu.Lock()
		defer mu.Unlock()
		if n == uint64(flips*2+1) && flips < 4 {
			fr[frameHeaderBytes+chunkHeaderBytes+flips*100] ^= 0x10
			flips++
		}
		return true
	})
	a.SetPeers([]Peer{b.peer(p.url)}, nil)
	b.SetPeers([]Peer{a.peer()}, nil)
	src := newSource(2, 6, 10, 5000)
	if err := a.sendAndWait(t, src); err != nil {
		t.Fatal(err)
	}
	s.check(t, src)
	if flips != 4 || valueOf(t, b.registry, "etcd_network_peer_received_failures_total", "1") < 1 {
		t.Errorf("%d flips, %v failures counted", flips, valueOf(t, b.registry, "etcd_network_peer_received_failures_total", "1"))
	}
}

// The checksum of a chunk and that of the whole catch what a frame's cannot: a sender that mixes up what it sends.
func TestSnapshotChecksums(t *testing.T) {
	if _, _, _, err := decodeChunk(appendChunk(nil, 1, 5, []byte("other"))[frameHeaderBytes:]); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a chunk with the checksum of another: %v", err)
	}
	want := totalOf([]sentChunk{{1, 10}, {2, 10}, {3, 10}})
	for _, other := range [][]sentChunk{{{2, 10}, {1, 10}, {3, 10}}, {{1, 10}, {2, 10}}, {{1, 10}, {2, 10}, {2, 10}}, {{1, 10}, {2, 11}, {3, 9}}} {
		if totalOf(other).sum == want.sum {
			t.Errorf("%v has the checksum of another", other)
		}
	}
	s := &sink{}
	a, b := start(t, 1), start(t, 2, into(s))
	acquaint(a, b)
	conn, _, err := a.dial(t.Context(), 2, []string{b.url}, ClassSnapshot)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	src := newSource(2, 3, 1, 10)
	announced, err := offer{3, 0, src.Message()}.encode()
	if err != nil {
		t.Fatal(err)
	}
	_, _ = conn.Write(announced)
	_, _ = conn.Write(numbersFrame(frameEnd, 0, 0, 7))
	r := newFrameReader(conn, maxControlBytes, 0, nil)
	for {
		frameKind, body, err := r.next(false)
		if err != nil {
			t.Fatal(err)
		}
		if frameKind == frameFail {
			if !strings.Contains(string(body), "the whole snapshot") {
				t.Errorf("it fails by %q", body)
			}
			break
		}
	}
	eventually(t, "it is given up", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.mu.aborted) == 1 && s.mu.finished == 0
	})
}

// A sink that takes long, and one that fails, are waited for and reported; a source that fails ends the transfer.
func TestSnapshotEnds(t *testing.T) {
	slow := &sink{}
	pause := func() { // longer than the sender would wait for a receiver that is gone
		timer := time.NewTimer(900 * time.Millisecond)
		<-timer.C
	}
	slow.onWrite = func(n uint64) error {
		if n == 1 {
			pause()
		}
		return nil
	}
	slow.onFinish = func() error { pause(); return nil }
	full := &sink{onWrite: func(n uint64) error {
		if n == 2 {
			return errors.New("no space left")
		}
		return nil
	}}
	unfinished := &sink{onFinish: func() error { return errors.New("the store cannot be opened") }}
	left := &sink{}
	short := limited(func(l *Limits) { l.DeadAfter = 200 * time.Millisecond })
	a, b := start(t, 1, short), start(t, 2, short, into(slow, full, unfinished, left))
	acquaint(a, b)
	src := newSource(2, 1, 4, 1000)
	if err := a.sendAndWait(t, src); err != nil {
		t.Error(err)
	}
	slow.check(t, src)
	var remote *RemoteError
	if err := a.sendAndWait(t, newSource(2, 2, 200, 50000)); !errors.As(err, &remote) || !strings.Contains(err.Error(), "keep chunk 2: no space left") {
		t.Errorf("a full disk: %v", err)
	}
	if err := a.sendAndWait(t, newSource(2, 3, 3, 10)); !errors.As(err, &remote) || !strings.Contains(err.Error(), "the store cannot be opened") {
		t.Errorf("a sink that cannot finish: %v", err)
	}
	if len(full.mu.aborted) != 1 || len(unfinished.mu.aborted) != 0 {
		t.Errorf("aborted: %v, %v", full.mu.aborted, unfinished.mu.aborted)
	}
	broken := newSource(2, 4, 3, 10)
	broken.fail = func(n uint64) error {
		if n == 2 {
			return errors.New("the view has expired")
		}
		return nil
	}
	if err := a.sendAndWait(t, broken); err == nil || !strings.Contains(err.Error(), "the view has expired") {
		t.Errorf("a source that fails: %v", err)
	}
	eventually(t, "the receiver is told", func() bool {
		left.mu.Lock()
		defer left.mu.Unlock()
		return len(left.mu.aborted) == 1 && strings.Contains(left.mu.aborted[0].Error(), "the view has expired")
	})
}

// Attempts that bring nothing end; the receiver keeps what it has for a while, and then gives it up.
func TestSnapshotGivenUp(t *testing.T) {
	s, other := &sink{}, &sink{}
	few := limited(func(l *Limits) { l.SnapshotAttempts, l.SnapshotPatience = 3, 100*time.Millisecond })
	a, b := start(t, 1, few), start(t, 2, few, into(s, other))
	p := newProxy(t, b.listener.Addr())
	p.onChunks(func(n uint64, _ []byte) bool { return n < 2 })
	a.SetPeers([]Peer{b.peer(p.url)}, nil)
	if err := a.sendAndWait(t, newSource(2, 5, 4, 1000)); err == nil || !strings.Contains(err.Error(), "given up after 3 attempts") {
		t.Error(err)
	}
	eventually(t, "the receiver gives up", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.mu.aborted) == 1 && errors.Is(s.mu.aborted[0], errForgotten)
	})
	p.setMangle(nil)
	src := newSource(2, 6, 3, 10)
	if err := a.sendAndWait(t, src); err != nil {
		t.Error(err)
	}
	other.check(t, src)
}

// One at a time is sent to a peer, and one that replaces another ends it at the receiver.
func TestSnapshotOneAtATime(t *testing.T) {
	s := &sink{}
	enter, leave := make(chan struct{}), make(chan struct{})
	s.onWrite = func(n uint64) error {
		if n == 0 {
			close(enter)
			<-leave
		}
		return nil
	}
	a, b := start(t, 1), start(t, 2, into(s))
	acquaint(a, b)
	first := newSource(2, 1, 2, 10)
	a.SendSnapshot(first)
	<-enter
	second := newSource(2, 2, 2, 10)
	a.SendSnapshot(second)
	<-second.closed
	eventually(t, "the second is refused", func() bool { return len(a.snapshotsSent()) == 1 })
	if err := a.snapshotsSent()[0]; !errors.Is(err, ErrBusy) {
		t.Error(err)
	}
	close(leave)
	eventually(t, "the first arrives", func() bool { return len(a.snapshotsSent()) == 2 })
	if err := a.snapshotsSent()[1]; err != nil {
		t.Error(err)
	}
	s.check(t, first)
	// The same one offered again, because the last answer was lost, is known to be there.
	if err := a.sendAndWait(t, newSource(2, 1, 2, 10)); err != nil {
		t.Error(err)
	}
	if s.mu.finished != 1 {
		t.Error("it was received twice")
	}
}

// A sink that begins in the middle gets the rest, and the checksum covers that.
func TestSnapshotFromTheMiddle(t *testing.T) {
	s := &sink{}
	s.mu.next = 3
	a, b := start(t, 1), start(t, 2, into(s))
	acquaint(a, b)
	src := newSource(2, 1, 5, 100)
	if err := a.sendAndWait(t, src); err != nil {
		t.Fatal(err)
	}
	if s.mu.writes != 2 || s.mu.finished != 1 || !bytes.Equal(s.mu.got.Bytes(), bytes.Join(src.chunks[3:], nil)) {
		t.Errorf("%d writes", s.mu.writes)
	}
}

// The rate holds for all that is sent, and a change counts at once.
func TestSnapshotRate(t *testing.T) {
	s := &sink{}
	a, b := start(t, 1, func(c *Config, _ *member) { c.SnapshotBytesPerSecond = 1 << 20 }), start(t, 2, into(s))
	acquaint(a, b)
	at := time.Now()
	if err := a.sendAndWait(t, newSource(2, 1, 10, 64*kib)); err != nil {
		t.Fatal(err)
	}
	// 640 KiB, of which the burst and one chunk are free.
	if took := time.Since(at); took < 400*time.Millisecond || took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	r := newBucket(1)
	if err := r.take(t.Context(), 1<<30); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- r.take(t.Context(), 1) }()
	r.set(0)
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Error("the change does not count")
	}
}

// What was being received when the member closes is given up.
func TestSnapshotAtClose(t *testing.T) {
	s := &sink{}
	a, b := start(t, 1), start(t, 2, into(s))
	p := newProxy(t, b.listener.Addr())
	reached := make(chan struct{})
	var once sync.Once
	p.onChunks(func(n uint64, _ []byte) bool {
		if n == 2 {
			once.Do(func() { close(reached) })
			return false
		}
		return true
	})
	a.SetPeers([]Peer{b.peer(p.url)}, nil)
	src := newSource(2, 5, 4, 1000)
	a.SendSnapshot(src)
	<-reached
	b.Close()
	if len(s.mu.aborted) != 1 || !errors.Is(s.mu.aborted[0], ErrClosed) {
		t.Errorf("aborted: %v", s.mu.aborted)
	}
	a.Close()
	<-src.closed
	late := newSource(2, 6, 1, 1)
	a.SendSnapshot(late)
	<-late.closed
}
