package mvcc

import (
	"encoding/binary"
	"sync"

	"holdfast/internal/command"
	"holdfast/internal/kind"
)

// memo remembers how many keys intervals had at revisions. What a revision holds never changes, so nothing here
// ever becomes wrong. It is there for those who read a large interval in pages at one revision, as Kubernetes does:
// every page must say how many keys the rest of the interval has, and only the first page has to count them.
type memo struct {
	mu struct {
		sync.Mutex
		counts map[string]int64
		order  []string // a ring: the oldest goes when there are memoEntries
		next   int
	}
}

// A memo has at most memoEntries, of intervals whose ends have at most memoKeyBytes together.
const (
	memoEntries  = 256
	memoKeyBytes = 4 << 10
)

func newMemo() *memo {
	m := &memo{}
	m.mu.counts = make(map[string]int64)
	return m
}

func (m *memo) key(iv command.Interval, rev kind.Revision) string {
	b := make([]byte, 0, 64+len(iv.Start)+len(iv.End))
	b = append(b, byte(iv.Shape))
	b = binary.BigEndian.AppendUint64(b, uint64(rev))
	b = binary.AppendUvarint(b, uint64(len(iv.Start)))
	b = append(b, iv.Start...)
	return string(append(b, iv.End...))
}

// get returns the number of keys in iv at rev if it is remembered. A nil memo remembers nothing.
func (m *memo) get(iv command.Interval, rev kind.Revision) (int64, bool) {
	if m == nil || iv.Shape == command.Point || len(iv.Start)+len(iv.End) > memoKeyBytes {
		return 0, false
	}
	key := m.key(iv, rev)
	m.mu.Lock()
	defer m.mu.Unlock()
	n, ok := m.mu.counts[key]
	return n, ok
}

// put remembers that iv has count keys at rev, and rest of them after lastKey, where the next page begins.
func (m *memo) put(iv command.Interval, lastKey []byte, rev kind.Revision, count, rest int64) {
	if m == nil || iv.Shape == command.Point || len(iv.Start)+len(iv.End) > memoKeyBytes {
		return
	}
	here := m.key(iv, rev)
	iv.Start = append(lastKey, 0)
	there := m.key(iv, rev)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.set(here, count)
	m.set(there, rest)
}

func (m *memo) set(key string, count int64) {
	if _, ok := m.mu.counts[key]; ok {
		return
	}
	if len(m.mu.order) < memoEntries {
		m.mu.order = append(m.mu.order, key)
	} else {
		delete(m.mu.counts, m.mu.order[m.mu.next])
		m.mu.order[m.mu.next] = key
		m.mu.next = (m.mu.next + 1) % memoEntries
	}
	m.mu.counts[key] = count
}
