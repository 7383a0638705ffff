package transport

import (
	"fmt"
	"sync"
)

// messageLink is a link with a queue of messages.
type messageLink struct {
	link

	maxBytes int

	// Of the goroutine that writes: the messages of the last fill, and where the frame of each ends.
	group []queued
	ends  []int

	queued struct {
		sync.Mutex
		queue
		touched bool // by the Send that is under way
	}
}

func newMessageLink(p *peer, class Class, maxBytes int) *messageLink {
	l := &messageLink{maxBytes: maxBytes}
	l.init(p, class, l, maxControlBytes)
	return l
}

// push adds a message to the queue, or drops it; its caller holds the lock of the queue.
func (l *messageLink) push(m *Message) {
	size := m.size()
	// While the peer is out of reach only forwards wait: they are reported when the next attempt has failed.
	if l.down.Load() && m.Kind != KindForward || !l.queued.admits(size, l.maxBytes, l.p.t.limits.QueueMessages) {
		l.drop(*m)
		return
	}
	l.queued.push(m, size)
}

// drop gives up messages that no connection has taken whole.
func (l *messageLink) drop(ms ...Message) {
	if len(ms) == 0 {
		return
	}
	l.p.metrics.sentFailures.Add(float64(len(ms)))
	l.p.t.notifier.dropped(ms...)
}

func (l *messageLink) fill(b []byte) []byte {
	l.queued.Lock()
	l.group = l.queued.take(l.group[:0])
	l.queued.Unlock()
	l.ends = l.ends[:0]
	if len(l.group) == 0 {
		return b
	}
	before := len(b)
	entries := 0
	b, start := appendFrame(b, frameMessages)
	for i := range l.group {
		m := &l.group[i].message
		n := len(m.Raft.GetEntries())
		if entries += n; entries > maxFrameEntries {
			endFrame(b, start)
			l.closeFrame(i, len(b)-before)
			b, start = appendFrame(b, frameMessages)
			entries = n
		}
		b = appendMessage(b, m, l.p.t.self)
	}
	endFrame(b, start)
	l.closeFrame(len(l.group), len(b)-before)
	return b
}

// closeFrame notes that the frame of the messages before i ends at end.
func (l *messageLink) closeFrame(i, end int) {
	for len(l.ends) < i {
		l.ends = append(l.ends, end)
	}
}

// written gives up the messages whose frames were not taken completely: what is not complete cannot be read (P4).
func (l *messageLink) written(n int, err error) {
	l.queued.Lock()
	l.queued.release(l.group)
	l.queued.Unlock()
	if err != nil {
		whole := 0
		for whole < len(l.group) && l.ends[whole] <= n {
			whole++
		}
		l.drop(messagesOf(l.group[whole:])...)
	}
	clear(l.group)
	if cap(l.group) > 4096 {
		l.group = nil
	}
}

func messagesOf(list []queued) []Message {
	ms := make([]Message, len(list))
	for i := range list {
		ms[i] = list[i].message
	}
	return ms
}

func (l *messageLink) answer(frameKind byte, body []byte) error {
	return fmt.Errorf("%w: a frame of the kind %#x came back", errFrame, frameKind)
}

// lost says that what was sent last may not have arrived. What waits is kept for the next connection.
func (l *messageLink) lost() {
	if l.p.ctx.Err() == nil {
		l.p.t.notifier.lost(l.p.id)
	}
}

// failed drops what waits: the peer cannot be reached.
func (l *messageLink) failed() {
	l.queued.Lock()
	waiting := l.queued.drain()
	l.queued.Unlock()
	l.drop(messagesOf(waiting)...)
}

func (l *messageLink) isEmpty() bool {
	l.queued.Lock()
	defer l.queued.Unlock()
	return l.queued.messages == 0
}
