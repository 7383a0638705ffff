package transport

// queued is a message that waits.
type queued struct {
	message Message
	size    int
	last    bool // of its Send
}

// queue holds what waits for a peer in a class, oldest first, and what is being written.
type queue struct {
	waiting []queued
	head    int // the first that still waits
	// bytes and messages count what waits and what is being written: all that the peer costs.
	bytes, messages int
}

// admits reports whether one more message fits. One that finds nothing before it always does.
func (q *queue) admits(size, maxBytes, maxMessages int) bool {
	return q.messages == 0 || q.messages < maxMessages && q.bytes+size <= maxBytes
}

func (q *queue) push(m *Message, size int) {
	q.waiting = append(q.waiting, queued{*m, size, false})
	q.bytes += size
	q.messages++
}

// closeSend marks the end of a Send.
func (q *queue) closeSend() {
	if len(q.waiting) > q.head {
		q.waiting[len(q.waiting)-1].last = true
	}
}

// Bytes that one write gathers: further Sends join it below groupBytes, and one Send is parted above writeBytes (P3).
const (
	groupBytes = 256 * kib
	writeBytes = mib
)

// take moves the messages of the next write to group, which is empty, and returns it. They count until release.
func (q *queue) take(group []queued) []queued {
	bytes := 0
	for q.head < len(q.waiting) {
		next := &q.waiting[q.head]
		group = append(group, *next)
		bytes += next.size
		*next = queued{}
		q.head++
		if bytes >= writeBytes || bytes >= groupBytes && group[len(group)-1].last || len(group) == maxFrameMessages {
			break
		}
	}
	q.settle()
	return group
}

// settle gives back the room before head when that costs little.
func (q *queue) settle() {
	switch {
	case q.head == len(q.waiting):
		q.waiting, q.head = q.waiting[:0], 0
		if cap(q.waiting) > 4096 {
			q.waiting = nil
		}
	case q.head > 1024 && q.head > len(q.waiting)/2:
		n := copy(q.waiting, q.waiting[q.head:])
		clear(q.waiting[n:])
		q.waiting, q.head = q.waiting[:n], 0
	}
}

// release forgets messages that take has returned.
func (q *queue) release(group []queued) {
	for i := range group {
		q.bytes -= group[i].size
	}
	q.messages -= len(group)
}

// drain removes all that waits and returns it.
func (q *queue) drain() []queued {
	waiting := q.waiting[q.head:]
	q.release(waiting)
	q.waiting, q.head = nil, 0
	return waiting
}
