package transport

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Messages arrive complete, each class in order (P2), and both sides know each other afterwards (P5).
func TestMessagesArrive(t *testing.T) {
	a, b := start(t, 1), start(t, 2)
	acquaint(a, b)
	const count = 200
	for i := range count {
		a.Send([]Message{
			heartbeat(1, 2, uint64(i)),
			appendOf(1, 2, uint64(i)+1, []byte(fmt.Sprint("entry ", i))),
			forward(1, 2, fmt.Sprint("forward ", i)),
		})
	}
	eventually(t, "all arrive", func() bool { return len(b.all()) == 3*count })
	var beats, entries, forwards uint64
	for _, m := range b.all() {
		if m.From != 1 || m.To != 2 {
			t.Fatalf("from %v to %v", m.From, m.To)
		}
		switch {
		case m.Kind == KindForward:
			if string(m.Payload) != fmt.Sprint("forward ", forwards) {
				t.Fatalf("forward %d: %q", forwards, m.Payload)
			}
			forwards++
		case m.Class() == ClassUrgent:
			if m.Raft.GetCommit() != beats {
				t.Fatalf("heartbeat %d: %v", beats, m.Raft)
			}
			beats++
		default:
			if e := m.Raft.GetEntries(); len(e) != 1 || string(e[0].GetData()) != fmt.Sprint("entry ", entries) || e[0].GetIndex() != entries+1 {
				t.Fatalf("append %d: %v", entries, m.Raft)
			}
			entries++
		}
	}
	for _, pair := range [][2]*member{{a, b}, {b, a}} {
		eventually(t, "both are active", func() bool { _, ok := pair[0].Active(pair[1].id); return ok })
		if h, ok := pair[0].Hello(pair[1].id); !ok || h != (Hello{1, 2, fmt.Sprintf("v%d", pair[1].id)}) {
			t.Errorf("%v, %v", h, ok)
		}
	}
}

// dataOf returns the appends and forwards among messages.
func dataOf(ms []Message) []Message {
	return slices.DeleteFunc(ms, func(m Message) bool { return m.Class() != ClassData })
}

// Within a class order holds across any number of broken connections: what arrives is a subsequence of what was sent (P2).
func TestOrderAcrossBreaks(t *testing.T) {
	a, b := start(t, 1), start(t, 2)
	p := newProxy(t, b.listener.Addr())
	a.SetPeers([]Peer{b.peer(p.url)}, nil)
	b.SetPeers([]Peer{a.peer()}, nil)
	for i := range uint64(3000) {
		a.Send([]Message{heartbeat(1, 2, i), appendOf(1, 2, i+1, make([]byte, 500))})
		if i%100 == 99 {
			eventually(t, "some arrive", func() bool { return len(dataOf(b.all())) > 0 || a.unreachableNow(2) > 0 })
			p.cut()
		}
	}
	a.Send([]Message{forward(1, 2, "last")})
	eventually(t, "the last arrives, or is reported", func() bool {
		if len(a.unsentNow()) > 0 {
			return true
		}
		ms := dataOf(b.all())
		return len(ms) > 0 && ms[len(ms)-1].Kind == KindForward
	})
	var beat, index uint64
	seen := 0
	for _, m := range b.all() {
		switch {
		case m.Kind == KindForward:
		case m.Class() == ClassUrgent:
			if seen > 0 && m.Raft.GetCommit() <= beat && m.Raft.GetCommit() != 0 {
				t.Fatalf("heartbeat %d after %d", m.Raft.GetCommit(), beat)
			}
			beat = m.Raft.GetCommit()
			seen++
		default:
			if i := m.Raft.GetEntries()[0].GetIndex(); i <= index {
				t.Fatalf("entry %d after %d", i, index)
			} else {
				index = i
			}
		}
	}
	if a.unreachableNow(2) == 0 {
		t.Error("nobody was told that connections broke")
	}
}

// A forward that is reported as unsent was never read by the other side, wherever the connection breaks; and none is
// both lost without a report and never written (P4).
func TestUnsentIsExact(t *testing.T) {
	a, b := start(t, 1), start(t, 2)
	p := newProxy(t, b.listener.Addr())
	a.SetPeers([]Peer{b.peer(p.url)}, nil)
	sent := 0
	for round := range 25 {
		p.setMangle(func(_, n int, b []byte) ([]byte, error) {
			// Each connection of this round ends after so many bytes, in a frame or between two.
			if limit := 300 + 497*round; n+len(b) > limit {
				return b[:max(0, limit-n)], errCut
			}
			return b, nil
		})
		for range 50 {
			a.Send([]Message{forward(1, 2, fmt.Sprint("f", sent)), forward(1, 2, fmt.Sprint("f", sent+1)+strings.Repeat("x", 300*(round%7)))})
			sent += 2
			eventually(t, "it is written or given up", a.Transport.peer(2).data.isEmpty) // each Send is a frame of its own
		}
		before := a.unreachableNow(2)
		p.cut()
		eventually(t, "the break is noticed", func() bool { return a.unreachableNow(2) > before || len(a.unsentNow()) > 0 })
	}
	p.setMangle(nil)
	p.breakUp(true)
	eventually(t, "what waits is reported once the peer cannot be reached", func() bool {
		if a.Transport.peer(2).data.isEmpty() {
			a.Send([]Message{forward(1, 2, "never")}) // one may still be taken by the connection that is about to end
		}
		return slices.ContainsFunc(a.unsentNow(), func(m Message) bool { return string(m.Payload) == "never" })
	})
	received := map[string]bool{}
	for _, m := range b.all() {
		received[string(m.Payload)] = true
	}
	unsent := map[string]bool{}
	for _, m := range a.unsentNow() {
		if string(m.Payload) == "never" {
			continue
		}
		if received[string(m.Payload)] {
			t.Fatalf("%.10s was read, but is reported as unsent", m.Payload)
		}
		if unsent[string(m.Payload)] {
			t.Fatalf("%.10s is reported twice", m.Payload)
		}
		unsent[string(m.Payload)] = true
	}
	t.Logf("of %d forwards %d were read, %d reported as unsent", sent, len(received), len(unsent))
	if len(received) == 0 {
		t.Error("nothing arrived")
	}
}

// A connection that takes part of a write tells to the byte which messages were complete (P4).
func TestUnsentAtEveryByte(t *testing.T) {
	a := start(t, 1)
	a.SetPeers([]Peer{{2, []string{"http://127.0.0.1:1"}}}, nil)
	l := a.Transport.peer(2).data
	a.Transport.peer(2).cancel() // its own goroutine stays away
	eventually(t, "it is away", func() bool { return a.Transport.ctx.Err() == nil && l.p.ctx.Err() != nil })
	ms := []Message{forward(1, 2, "one"), forward(1, 2, "two")}
	frameBytes := len(encode(ms))
	for n := range frameBytes + 1 {
		q := newMessageLink(l.p, ClassData, mib)
		for i := range ms {
			q.queued.push(&ms[i], ms[i].size())
		}
		if b := q.fill(nil); len(b) != frameBytes {
			t.Fatalf("%d bytes, want %d", len(b), frameBytes)
		}
		before, failures := len(a.unsentNow()), valueOf(t, a.registry, "etcd_network_peer_sent_failures_total", "2")
		q.written(n, errCut)
		if n < frameBytes {
			eventually(t, "both are reported", func() bool { return len(a.unsentNow()) == before+2 })
			continue
		}
		if len(a.unsentNow()) != before || valueOf(t, a.registry, "etcd_network_peer_sent_failures_total", "2") != failures {
			t.Errorf("after %d bytes of %d something is reported", n, frameBytes)
		}
	}
}

// A peer that takes connections and never reads costs its queues and no more; Send does not wait for it, and another
// peer does not notice (P1).
func TestPeerThatNeverReads(t *testing.T) {
	const bound = 4 * mib
	a, c := start(t, 1, limited(func(l *Limits) {
		l.DataQueueBytes, l.UrgentQueueBytes, l.QueueMessages = bound, mib, 1000
		l.DeadAfter = time.Minute
	})), start(t, 3)
	deaf := newDeaf(t, 2)
	a.SetPeers([]Peer{{2, []string{deaf}}, c.peer()}, nil)
	c.SetPeers([]Peer{a.peer()}, nil)
	eventually(t, "the other is there", func() bool { _, ok := a.Active(3); return ok })
	data := make([]byte, 64*kib)
	var slowest time.Duration
	for i := range uint64(5000) {
		eventually(t, "the other one's queue has room", func() bool { return a.Transport.peer(3).urgent.isEmpty() || i%500 != 0 })
		at := time.Now()
		a.Send([]Message{heartbeat(1, 2, i), appendOf(1, 2, i+1, data), heartbeat(1, 3, i)})
		slowest = max(slowest, time.Since(at))
		for _, class := range []Class{ClassUrgent, ClassData} {
			l := a.Transport.peer(2).link(class)
			l.queued.Lock()
			bytes, messages := l.queued.bytes, l.queued.messages
			l.queued.Unlock()
			if bytes > bound || messages > 1000 {
				t.Fatalf("%v: %d bytes in %d messages wait", class, bytes, messages)
			}
		}
	}
	eventually(t, "the other gets all", func() bool { return len(c.all()) == 5000 })
	eventually(t, "drops are reported", func() bool { return a.unreachableNow(2) > 0 })
	if slowest > 2*time.Second {
		t.Errorf("a Send took %v", slowest)
	}
	if n := valueOf(t, a.registry, "etcd_network_peer_sent_failures_total", "2"); n == 0 {
		t.Error("no failure is counted")
	}
}

// Heartbeats arrive within 50 ms while as much data as goes is under way to the same peer (P2).
func TestHeartbeatsPassData(t *testing.T) {
	var late, beats atomic.Int64
	var bytes atomic.Int64
	epoch := time.Now()
	a, b := start(t, 1), start(t, 2, func(_ *Config, m *member) {
		m.onReceive = func(ms []Message) {
			for _, m := range ms {
				if m.Class() == ClassData {
					bytes.Add(int64(len(m.Raft.GetEntries()[0].GetData())))
					continue
				}
				beats.Add(1)
				if took := time.Since(epoch) - time.Duration(m.Raft.GetCommit()); took > 50*time.Millisecond {
					late.Add(1)
				}
			}
		}
	})
	acquaint(a, b)
	eventually(t, "both are there", func() bool { _, ok := a.Active(2); return ok })
	data := make([]byte, mib)
	end := time.Now().Add(2 * time.Second)
	if testing.Short() {
		end = time.Now().Add(500 * time.Millisecond)
	}
	next := time.Now()
	for i := uint64(1); time.Now().Before(end); i++ {
		a.Send([]Message{appendOf(1, 2, i, data)})
		if now := time.Now(); now.After(next) {
			next = now.Add(5 * time.Millisecond)
			a.Send([]Message{heartbeat(1, 2, uint64(time.Since(epoch)))})
		}
		for l := a.Transport.peer(2).data; l.isCrowded(); {
			time.Sleep(100 * time.Microsecond)
			if time.Now().After(end) {
				break
			}
		}
	}
	t.Logf("%d MiB, %d heartbeats, %d later than 50 ms", bytes.Load()/mib, beats.Load(), late.Load())
	// Two processors are shared with whatever else runs here: a single one that waits for its turn is not a queue.
	if beats.Load() < 20 || late.Load() > beats.Load()/50+1 {
		t.Errorf("%d of %d heartbeats were late", late.Load(), beats.Load())
	}
}

// isCrowded reports whether more than half of what may wait for a peer does.
func (l *messageLink) isCrowded() bool {
	l.queued.Lock()
	defer l.queued.Unlock()
	return l.queued.bytes > l.maxBytes/2
}

// The messages of one Send leave in one write (P3).
func TestOneWrite(t *testing.T) {
	a := start(t, 1)
	a.SetPeers([]Peer{{2, []string{"http://127.0.0.1:1"}}}, nil)
	l := newMessageLink(a.Transport.peer(2), ClassData, 64*mib)
	push := func(count, size int) {
		for i := range count {
			m := appendOf(1, 2, uint64(i+1), make([]byte, size))
			l.queued.push(&m, m.size())
		}
		l.queued.closeSend()
	}
	next := func() int {
		b := l.fill(nil)
		l.written(len(b), nil)
		return len(l.ends)
	}
	push(100, 100)
	push(30, 20000)
	push(10, 1000)
	if n := next(); n != 130 {
		t.Errorf("the first write has %d messages, want two whole Sends", n)
	}
	if n := next(); n != 10 {
		t.Errorf("the second write has %d messages", n)
	}
	push(40, 100000)
	if n := next(); n != 11 {
		t.Errorf("of a Send of 4 MB %d messages go out at once", n)
	}
	for next() > 0 {
		continue
	}
	if !l.isEmpty() {
		t.Error("something is left")
	}
}

// A peer whose machine stands still is inactive after DeadAfter, and active again when it goes on.
func TestSilentPeer(t *testing.T) {
	a, b := start(t, 1, limited(func(l *Limits) { l.DeadAfter = 200 * time.Millisecond })), start(t, 2, limited(func(l *Limits) { l.DeadAfter = time.Hour }))
	p := newProxy(t, b.listener.Addr())
	a.SetPeers([]Peer{b.peer(p.url)}, nil)
	b.SetPeers([]Peer{a.peer()}, nil)
	active := func() bool { _, ok := a.Active(2); return ok }
	eventually(t, "it is active", active)
	since, _ := a.Active(2)
	hold := make(chan struct{})
	p.setMangle(func(_, _ int, b []byte) ([]byte, error) { <-hold; return b, nil })
	eventually(t, "it is not", func() bool { return !active() })
	eventually(t, "the handler is told", func() bool { return a.unreachableNow(2) > 0 })
	p.setMangle(nil)
	close(hold)
	eventually(t, "it is again", active)
	if again, _ := a.Active(2); !again.After(since) {
		t.Error("it is said to have been active all the time")
	}
	if n := valueOf(t, a.registry, "etcd_network_disconnected_peers_total", "2"); n < 1 {
		t.Errorf("%v disconnections are counted", n)
	}
}

// Of several URLs the one that works is found, and new URLs count when SetPeers says so.
func TestSeveralURLs(t *testing.T) {
	a, b := start(t, 1), start(t, 2)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := "http://" + closed.Addr().String()
	_ = closed.Close()
	a.SetPeers([]Peer{b.peer(dead, "nonsense://x", "http://noport", dead, b.url)}, nil)
	a.Send([]Message{forward(1, 2, "hello")})
	eventually(t, "it arrives", func() bool { return len(b.all()) == 1 })
	c := start(t, 3)
	a.SetPeers([]Peer{b.peer(), c.peer(dead)}, nil)
	a.Send([]Message{forward(1, 3, "nobody")})
	eventually(t, "it is reported", func() bool { return len(a.unsentNow()) == 1 })
	a.SetPeers([]Peer{b.peer(), c.peer()}, nil)
	eventually(t, "the new URL is used", func() bool {
		a.Send([]Message{heartbeat(1, 3, 0)})
		return len(c.all()) > 0
	})
}

// Probes measure the round trip and how far the clocks are apart.
func TestClockOffset(t *testing.T) {
	const ahead = 90 * time.Minute
	a, b := start(t, 1), start(t, 2, func(c *Config, _ *member) { c.Wall = func() time.Time { return time.Now().Add(ahead) } })
	acquaint(a, b)
	eventually(t, "it is measured", func() bool { _, _, ok := a.ClockOffset(2); return ok })
	offset, roundTrip, _ := a.ClockOffset(2)
	if off := (offset - ahead).Abs(); off > roundTrip/2+time.Millisecond || roundTrip <= 0 || roundTrip > time.Second {
		t.Errorf("the clock is said to be %v ahead, round trip %v", offset, roundTrip)
	}
	if _, _, ok := a.ClockOffset(9); ok {
		t.Error("a stranger has a clock")
	}
	var c clock
	for i := range 20 {
		c.add(time.Duration(i), time.Duration(100-i%7))
	}
	if best, _ := c.best(); best.roundTrip != 94 {
		t.Errorf("%+v", best)
	}
}

// Metrics bear etcd's names, ids in hexadecimal, and count what happens.
func TestMetrics(t *testing.T) {
	a, b := start(t, 0xab), start(t, 0xcd)
	acquaint(a, b)
	eventually(t, "both are active", func() bool { _, ok := a.Active(0xcd); _, back := b.Active(0xab); return ok && back })
	before := valueOf(t, a.registry, "etcd_network_peer_sent_bytes_total", "cd")
	a.Send([]Message{appendOf(0xab, 0xcd, 1, make([]byte, 100000))})
	eventually(t, "it arrives", func() bool { return len(b.all()) == 1 })
	eventually(t, "bytes are counted on both sides", func() bool {
		return valueOf(t, a.registry, "etcd_network_peer_sent_bytes_total", "cd")-before >= 100000 &&
			valueOf(t, b.registry, "etcd_network_peer_received_bytes_total", "ab") >= 100000
	})
	for name, want := range map[string]float64{"etcd_network_active_peers": 1, "etcd_network_known_peers": 1, "etcd_network_disconnected_peers_total": 0,
		"etcd_network_peer_sent_failures_total": 0, "etcd_network_peer_received_failures_total": 0} {
		if got := valueOf(t, a.registry, name, "cd"); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	eventually(t, "round trips are measured", func() bool { return valueOf(t, a.registry, "etcd_network_peer_round_trip_time_seconds", "cd") > 1 })
	a.SetPeers(nil, nil)
	eventually(t, "it is forgotten", func() bool { return valueOf(t, a.registry, "etcd_network_known_peers", "cd") == 0 })
}

// Close ends everything while a peer reads nothing and another one calls (P7; TestMain looks for what is left).
func TestCloseUnderLoad(t *testing.T) {
	a, b := start(t, 1), start(t, 2)
	deaf := newDeaf(t, 3)
	a.SetPeers([]Peer{b.peer(), {3, []string{deaf}}}, nil)
	b.SetPeers([]Peer{a.peer()}, nil)
	for i := range uint64(200) {
		a.Send([]Message{appendOf(1, 2, i+1, make([]byte, 100*kib)), appendOf(1, 3, i+1, make([]byte, 100*kib))})
		b.Send([]Message{appendOf(2, 1, i+1, make([]byte, 100*kib))})
	}
	eventually(t, "something is under way", func() bool { return len(b.all()) > 0 })
	at := time.Now()
	a.Close()
	if took := time.Since(at); took > time.Second {
		t.Errorf("it took %v", took)
	}
	n := len(a.all())
	b.Send([]Message{heartbeat(2, 1, 1)})
	a.Send([]Message{heartbeat(1, 2, 1)})
	a.SetPeers([]Peer{b.peer()}, nil)
	a.Close()
	if len(a.all()) != n {
		t.Error("something was received after Close")
	}
}
