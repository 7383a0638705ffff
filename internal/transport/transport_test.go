package transport

import (
	"fmt"
	"testing"
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
