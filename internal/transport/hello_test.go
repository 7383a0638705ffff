package transport

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"holdfast/internal/kind"
)

// A member that was removed is told so by whomever it calls, also on connections that were open (P5).
func TestRemovedIsTold(t *testing.T) {
	a, b := start(t, 1), start(t, 2)
	acquaint(a, b)
	eventually(t, "both are active", func() bool { _, ok := b.Active(1); return ok })
	a.Send([]Message{forward(1, 2, "last words")})
	a.SetPeers([]Peer{a.peer()}, []kind.MemberID{2})
	eventually(t, "the last words arrive", func() bool { return len(b.all()) == 1 })
	eventually(t, "it is told", func() bool { return len(b.refusals()) > 0 })
	if why := b.refusals()[0]; !errors.Is(why, ErrRemoved) {
		t.Error(why)
	}
	// So is one that knows nothing when it starts.
	c := start(t, 2)
	c.SetPeers([]Peer{a.peer()}, nil)
	eventually(t, "it is told", func() bool { return len(c.refusals()) > 0 })
	if why := c.refusals()[0]; !errors.Is(why, ErrRemoved) || !strings.Contains(why.Error(), "member 1 at http://") {
		t.Error(why)
	}
	b.Send([]Message{forward(2, 1, "anybody?")})
	eventually(t, "what it sends is reported", func() bool { return len(b.unsentNow()) > 0 })
	if len(a.all()) != 0 {
		t.Error("what it sends arrives")
	}
}

// Whoever belongs to another cluster, is not the one who was called, or speaks another version of the protocol, is
// refused with a sentence on the side that called, and nothing is exchanged (P5).
func TestRefusals(t *testing.T) {
	a := start(t, 1)
	other := start(t, 2, func(c *Config, _ *member) { c.Identity.Cluster = 0xee })
	third := start(t, 3)
	other.SetPeers([]Peer{a.peer()}, nil)
	third.SetPeers([]Peer{{7, []string{a.url}}}, nil)
	a.SetPeers([]Peer{{3, []string{a.url}}}, nil)
	for _, c := range []struct {
		m    *member
		kind error
		want string
	}{
		{other, ErrWrongCluster, "is member 1 of cluster c1, while this is member 2 of cluster ee; check the peer URLs"},
		{third, ErrWrongMember, "is member 1, where member 7 was expected"},
		{a, ErrWrongMember, "is member 1, where member 3 was expected"}, // it calls itself
	} {
		eventually(t, "it is refused", func() bool { return len(c.m.refusals()) > 0 })
		if why := c.m.refusals()[0]; !errors.Is(why, c.kind) || !strings.Contains(why.Error(), c.want) {
			t.Errorf("%v\nwant %q", why, c.want)
		}
	}
	for _, h := range []hello{{from: 2, to: 9}, {from: 1, to: 1}} {
		h.min, h.max, h.class, h.cluster = 1, 1, ClassUrgent, testCluster
		if w, err := greet(knock(t, a), h); err != nil || w.status != statusWrongMember {
			t.Errorf("member %v calls member %v: %v, %v", h.from, h.to, w.status, err)
		}
	}
	conn := knock(t, a)
	future := hello{min: 8, max: 9, class: ClassUrgent, cluster: testCluster, from: 2, to: 1}
	w, err := greet(conn, future)
	if err != nil {
		t.Fatal(err)
	}
	if err := future.refusal(w, "u"); !errors.Is(err, ErrVersion) || !strings.Contains(err.Error(), "speaks 1 to 1, this one 8 to 9") {
		t.Error(err)
	}
	if len(a.all()) != 0 {
		t.Error("something was received")
	}
}

// The answer is judged too: a member that lets everybody in is not believed to be the right one.
func TestAnswerIsJudged(t *testing.T) {
	h := hello{min: 1, max: 1, class: ClassData, cluster: 1, from: 1, to: 2}
	good := welcome{protocol: 1, min: 1, max: 1, cluster: 1, member: 2}
	if err := h.refusal(good, "u"); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		change func(*welcome)
		want   error
	}{
		{func(w *welcome) { w.cluster = 2 }, ErrWrongCluster},
		{func(w *welcome) { w.member = 3 }, ErrWrongMember},
		{func(w *welcome) { w.protocol = 2 }, ErrVersion},
		{func(w *welcome) { w.status = statusVersion }, ErrVersion},
		{func(w *welcome) { w.status = statusRemoved }, ErrRemoved},
		{func(w *welcome) { w.status = statusBusy }, nil},
		{func(w *welcome) { w.status = 99 }, nil},
	} {
		w := good
		c.change(&w)
		if err := h.refusal(w, "u"); err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%+v: %v, want %v", w, err, c.want)
		}
	}
}

// What is no member is named as what it is.
func TestWrongPorts(t *testing.T) {
	web, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer web.Close()
	go func() {
		for {
			conn, err := web.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
			_ = conn.Close()
		}
	}()
	a := start(t, 1)
	for _, c := range []struct{ url, want string }{
		{"http://" + web.Addr().String(), "it does not speak the peer protocol; check that the URL is a peer URL"},
		{"https://" + web.Addr().String(), "asks for TLS, but this member has no settings for it"},
		{"ftp://x:1", "begins with none of http://"},
		{"http://x", "has no port"},
		{"http://%zz", "is not understood"},
	} {
		_, _, err := a.dial(t.Context(), 2, []string{c.url}, ClassUrgent)
		if err == nil || !strings.Contains(err.Error(), c.want) && !strings.Contains(err.Error(), "connection reset") {
			t.Errorf("%s: %v\nwant %q", c.url, err, c.want)
		}
	}
}

// A member that was added while this one was away is answered: it tells its URLs when it calls, and is a guest until
// SetPeers names it.
func TestGuest(t *testing.T) {
	a, b := start(t, 1), start(t, 2)
	b.SetPeers([]Peer{a.peer()}, nil)
	b.Send([]Message{forward(2, 1, "a leader that a does not know")})
	eventually(t, "it is heard", func() bool { return len(a.all()) == 1 })
	a.Send([]Message{forward(1, 2, "an answer")})
	eventually(t, "it is answered", func() bool { return len(b.all()) == 1 })
	if valueOf(t, a.registry, "etcd_network_known_peers", "2") != 0 {
		t.Error("a guest is counted among the members")
	}
	a.SetPeers(nil, nil) // still one
	a.Send([]Message{forward(1, 2, "another")})
	eventually(t, "it is answered", func() bool { return len(b.all()) == 2 })
	a.SetPeers([]Peer{b.peer()}, nil)
	if valueOf(t, a.registry, "etcd_network_known_peers", "2") != 1 {
		t.Error("a member is not counted")
	}
	a.SetPeers(nil, []kind.MemberID{2})
	eventually(t, "it is told that it was removed", func() bool { return len(b.refusals()) > 0 })
}

// There are so many guests and no more, and one that stays away is forgotten.
func TestGuestsAreFew(t *testing.T) {
	a := start(t, 1, limited(func(l *Limits) { l.Guests = 2 }))
	var ms []*member
	for id := range kind.MemberID(4) {
		m := start(t, id+2)
		m.SetPeers([]Peer{a.peer()}, nil)
		ms = append(ms, m)
	}
	eventually(t, "two are in", func() bool { return len(*a.peers.Load()) == 2 })
	var in []*member
	for _, m := range ms {
		if a.Transport.peer(m.id) != nil {
			in = append(in, m)
		}
	}
	for _, m := range in {
		p := a.Transport.peer(m.id)
		m.Close()
		eventually(t, "it is away", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.mu.inbound == 0 })
		p.mu.Lock()
		p.mu.unseen = time.Now().Add(-2 * guestPatience)
		p.mu.Unlock()
	}
	if len(in) != 2 {
		t.Errorf("%d guests", len(in))
	}
	eventually(t, "the others take their places", func() bool {
		n := 0
		for id := range *a.peers.Load() {
			for _, m := range ms {
				if m.id == id && m.Transport.ctx.Err() == nil {
					n++
				}
			}
		}
		return n == 2
	})
}
