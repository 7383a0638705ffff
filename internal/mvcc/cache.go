package mvcc

import (
	"bytes"
	"encoding/binary"
	"sync"

	"github.com/cespare/xxhash/v2"

	"holdfast/internal/kind"
)

// cache holds the latest version of keys that were used lately, or the mark that a key is absent, within a bound of
// bytes (V3). It holds no pointers per row, so that a large one costs the garbage collector nothing: records lie
// one after another in chunks of bytes, and an index leads from the hash of a key to its record. When all chunks
// are full, the oldest is emptied; what was read since it was written moves to the new one.
//
// An entry's "since" is the revision from which on what it says is true: the mod revision of a row; of an absence
// the revision of the delete or of the view that found nothing. A reader at R may believe entries with since <= R,
// provided that R is published: every write up to R has then passed through here.
type cache struct {
	shards     []shard
	chunkBytes int
}

const (
	cacheShards  = 64
	cacheBuckets = 64 // per shard
	// cacheRecord is head of a record: flags, length of key, hash, since.
	cacheHead = 1 + 4 + 4 + 8 + 8
	// indexBytes is what an index entry is taken to cost beside the record.
	indexBytes = 40
)

const (
	flagUsed   = 1 << iota // read since it was written
	flagAbsent             // the key is absent
)

type shard struct {
	mu struct {
		sync.Mutex
		index   map[uint64]place
		chunks  [][]byte
		records []int // per chunk
		current int
		written [cacheBuckets]kind.Revision // the last revision that wrote a key of the bucket
	}
	maxChunks int
}

type place struct{ chunk, at uint32 }

// newCache returns an empty cache of at most size bytes, nil for none.
func newCache(size int64) *cache {
	if size <= 0 {
		return nil
	}
	per := int(size / cacheShards)
	c := &cache{shards: make([]shard, cacheShards), chunkBytes: min(max(per/8, 4<<10), 256<<10)}
	for i := range c.shards {
		c.shards[i].maxChunks = max(2, per/c.chunkBytes)
		c.shards[i].mu.index = make(map[uint64]place)
	}
	return c
}

func hashKey(key []byte) uint64 { return xxhash.Sum64(key) }

func (c *cache) shard(hash uint64) (*shard, int) {
	return &c.shards[hash%cacheShards], int(hash / cacheShards % cacheBuckets)
}

// get looks key up for a reader at rev. If it is known it returns that it is absent, or a fresh slice with the row's
// encoding; for a point read there is room before it, and two bytes after it, for what pointAnswer adds.
func (c *cache) get(key []byte, rev kind.Revision, point bool) (b []byte, before int, known bool) {
	if c == nil {
		return nil, 0, false
	}
	hash := hashKey(key)
	s, _ := c.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.find(hash, key)
	if !ok || r.since() > rev {
		return nil, 0, false
	}
	r[0] |= flagUsed
	if r[0]&flagAbsent != 0 {
		return nil, 0, true
	}
	body, after := r.body(), 0
	if point {
		before, after = beforeLen(len(body)), 2
	}
	b = make([]byte, before+len(body)+after)
	copy(b[before:], body)
	return b, before, true
}

// fill enters what a reader at rev found, nil for nothing, unless the bucket was written after its view.
func (c *cache) fill(key, row []byte, mod, rev kind.Revision) {
	if c == nil {
		return
	}
	hash := hashKey(key)
	s, bucket := c.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.written[bucket] > rev {
		return
	}
	if row == nil {
		mod = rev
	}
	s.put(c, hash, key, row, mod)
}

// update enters what the applier has written at rev, nil for a delete.
func (c *cache) update(key, row []byte, rev kind.Revision) {
	if c == nil {
		return
	}
	hash := hashKey(key)
	s, bucket := c.shard(hash)
	s.mu.Lock()
	s.mu.written[bucket] = max(s.mu.written[bucket], rev)
	s.put(c, hash, key, row, rev)
	s.mu.Unlock()
}

// clear forgets everything, because more was written up to rev than anybody remembers.
func (c *cache) clear(rev kind.Revision) {
	if c == nil {
		return
	}
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		for b := range s.mu.written {
			s.mu.written[b] = rev
		}
		clear(s.mu.index)
		s.mu.chunks, s.mu.records, s.mu.current = nil, nil, 0
		s.mu.Unlock()
	}
}

// cached is a record: flags, whole length, length of key, hash, since, key, body.
type cached []byte

func (r cached) keyLen() int          { return int(binary.LittleEndian.Uint32(r[5:])) }
func (r cached) hash() uint64         { return binary.LittleEndian.Uint64(r[9:]) }
func (r cached) since() kind.Revision { return kind.Revision(binary.LittleEndian.Uint64(r[17:])) }
func (r cached) key() []byte          { return r[cacheHead : cacheHead+r.keyLen()] }
func (r cached) body() []byte         { return r[cacheHead+r.keyLen():] }

func (s *shard) record(p place) cached {
	b := s.mu.chunks[p.chunk][p.at:]
	return cached(b[:binary.LittleEndian.Uint32(b[1:])])
}

func (s *shard) find(hash uint64, key []byte) (cached, bool) {
	p, ok := s.mu.index[hash]
	if !ok {
		return nil, false
	}
	r := s.record(p)
	return r, bytes.Equal(r.key(), key)
}

// put writes a record and leads the index to it. A row too large for the cache only drops what was there. Two keys
// of one hash drive each other out.
func (s *shard) put(c *cache, hash uint64, key, row []byte, since kind.Revision) {
	n := cacheHead + len(key) + len(row)
	if n > c.chunkBytes/4 {
		delete(s.mu.index, hash)
		return
	}
	chunk := s.room(c, n)
	b := s.mu.chunks[chunk]
	at := len(b)
	flags := byte(0)
	if row == nil {
		flags = flagAbsent
	}
	b = append(b, flags)
	b = binary.LittleEndian.AppendUint32(b, uint32(n))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(key)))
	b = binary.LittleEndian.AppendUint64(b, hash)
	b = binary.LittleEndian.AppendUint64(b, uint64(since))
	b = append(b, key...)
	b = append(b, row...)
	s.mu.chunks[chunk] = b
	s.mu.records[chunk]++
	s.mu.index[hash] = place{uint32(chunk), uint32(at)}
}

// room returns a chunk with room for n bytes more.
func (s *shard) room(c *cache, n int) int {
	m := &s.mu
	if len(m.chunks) > 0 && len(m.chunks[m.current])+n+(m.records[m.current]+1)*indexBytes <= c.chunkBytes {
		return m.current
	}
	if len(m.chunks) < s.maxChunks {
		m.chunks = append(m.chunks, make([]byte, 0, c.chunkBytes))
		m.records = append(m.records, 0)
		m.current = len(m.chunks) - 1
		return m.current
	}
	m.current = (m.current + 1) % len(m.chunks)
	s.empty(c, m.current)
	return m.current
}

// empty makes room in a chunk: what was read since it was written stays, as long as it fills at most half.
func (s *shard) empty(c *cache, chunk int) {
	m := &s.mu
	old := m.chunks[chunk]
	kept, records := 0, 0
	for at := 0; at < len(old); {
		r := s.record(place{uint32(chunk), uint32(at)})
		n := len(r)
		if p, ok := m.index[r.hash()]; ok && p == (place{uint32(chunk), uint32(at)}) {
			if hash := r.hash(); r[0]&flagUsed != 0 && kept+n+(records+1)*indexBytes <= c.chunkBytes/2 {
				r[0] &^= flagUsed
				copy(old[kept:], r)
				m.index[hash] = place{uint32(chunk), uint32(kept)}
				kept += n
				records++
			} else {
				delete(m.index, hash)
			}
		}
		at += n
	}
	m.chunks[chunk] = old[:kept]
	m.records[chunk] = records
}
