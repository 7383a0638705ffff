package node

import (
	"sync"

	"holdfast/internal/transport"
)

// The bounds of what other members have sent and the loop has not taken yet. Raft's flow control keeps a leader far
// below them; what is above is dropped, as if the network had lost it.
const (
	maxInboxBytes    = 64 << 20
	maxInboxMessages = 1 << 16
)

// takeBytes is about how much of the data the loop takes at once: between two portions it looks at its ticks, and at
// the messages that must not wait.
const takeBytes = 4 << 20

// messageCost is what a message takes beside its bytes, roughly.
const messageCost = 128

// inbox holds messages from the transport to the loop. What is urgent never waits for data.
type inbox struct {
	mu struct {
		sync.Mutex
		urgent []transport.Message
		data   []transport.Message
		sizes  []int // of data
		bytes  int   // the sum of sizes
	}
}

// put takes messages and returns those for which there is no room.
func (b *inbox) put(ms []transport.Message) (dropped []transport.Message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range ms {
		if m.Class() == transport.ClassUrgent {
			if len(b.mu.urgent) >= maxInboxMessages {
				dropped = append(dropped, m)
				continue
			}
			b.mu.urgent = append(b.mu.urgent, m)
			continue
		}
		n := sizeOf(m)
		// A single one may be larger than the bound.
		if len(b.mu.data) >= maxInboxMessages || b.mu.bytes > 0 && b.mu.bytes+n > maxInboxBytes {
			dropped = append(dropped, m)
			continue
		}
		b.mu.data = append(b.mu.data, m)
		b.mu.sizes = append(b.mu.sizes, n)
		b.mu.bytes += n
	}
	return dropped
}

// take appends all that is urgent to urgent[:0] and a portion of the data to data[:0]. more says that there is more.
func (b *inbox) take(urgent, data []transport.Message) (_, _ []transport.Message, more bool) {
	clear(urgent)
	clear(data)
	data = data[:0]
	b.mu.Lock()
	defer b.mu.Unlock()
	taken := b.mu.urgent
	b.mu.urgent = urgent[:0]
	bytes, i := 0, 0
	for ; i < len(b.mu.data) && (i == 0 || bytes+b.mu.sizes[i] <= takeBytes); i++ {
		bytes += b.mu.sizes[i]
		data = append(data, b.mu.data[i])
	}
	rest := copy(b.mu.data, b.mu.data[i:])
	clear(b.mu.data[rest:])
	b.mu.data = b.mu.data[:rest]
	b.mu.sizes = b.mu.sizes[:copy(b.mu.sizes, b.mu.sizes[i:])]
	b.mu.bytes -= bytes
	return taken, data, rest > 0
}

// sizeOf is about what a message takes in memory.
func sizeOf(m transport.Message) int {
	n := messageCost + len(m.Payload)
	if m.Raft != nil {
		for _, e := range m.Raft.GetEntries() {
			n += messageCost + len(e.GetData())
		}
	}
	return n
}
