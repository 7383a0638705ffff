package auth

import (
	"container/heap"
	"maps"
	"sync/atomic"

	"holdfast/internal/command"
)

// Token is one token that is known. Any goroutine may use it.
type Token struct {
	ID   command.TokenID
	User string
	TTL  uint64 // nanoseconds of cluster time

	end  atomic.Uint64 // as its record has it
	used atomic.Uint64 // the last use that this member has seen; 0 for none
	told atomic.Bool   // the use is on its way into the log
}

// Alive reports whether the token counts at a cluster time.
func (t *Token) Alive(now uint64) bool {
	end := t.end.Load()
	if used := t.used.Load(); used != 0 {
		end = max(end, used+t.TTL)
	}
	return now <= end
}

// Use notes that the token, which is Alive, was used at a cluster time, and reports whether that should be logged now:
// once for each quarter of the TTL. A caller that has got true and could not log it calls Missed.
func (t *Token) Use(now uint64) (tell bool) {
	// A use that is hardly later than the one before is not worth a write that all processors see.
	if used := t.used.Load(); now <= used+t.TTL/64 && used != 0 {
		return false
	}
	t.used.Store(now)
	return now+t.TTL > t.end.Load()+t.TTL/4 && t.told.CompareAndSwap(false, true)
}

// Missed takes back that a use is being logged.
func (t *Token) Missed() { t.told.Store(false) }

// Used is the last use that this member has seen, as a cluster time.
func (t *Token) Used() uint64 { return t.used.Load() }

// shardCount is over how many maps the tokens are spread, by the first byte of their id: a map is copied when it
// changes, so that readers need no lock.
const shardCount = 256

// tokens are all tokens that are known. The machine writes; find may be called from any goroutine.
type tokens struct {
	shards [shardCount]atomic.Pointer[map[command.TokenID]*Token]
	count  atomic.Int64
	next   atomic.Uint64 // at this cluster time a record may be due to be deleted; 0 for never
	byUser map[string]map[command.TokenID]*Token
	ends   ends
}

// find returns the token, nil if it is not known.
func (t *tokens) find(id command.TokenID) *Token {
	shard := t.shards[id[0]].Load()
	if shard == nil {
		return nil
	}
	return (*shard)[id]
}

func (t *tokens) change(id command.TokenID, do func(map[command.TokenID]*Token)) {
	shard := map[command.TokenID]*Token{}
	if old := t.shards[id[0]].Load(); old != nil {
		shard = maps.Clone(*old)
	}
	do(shard)
	t.shards[id[0]].Store(&shard)
}

func (t *tokens) add(id command.TokenID, user string, ttl, end uint64) *Token {
	token := &Token{ID: id, User: user, TTL: ttl}
	token.end.Store(end)
	if t.byUser == nil {
		t.byUser = map[string]map[command.TokenID]*Token{}
	}
	if t.byUser[user] == nil {
		t.byUser[user] = map[command.TokenID]*Token{}
	}
	t.byUser[user][id] = token
	t.change(id, func(shard map[command.TokenID]*Token) { shard[id] = token })
	t.count.Add(1)
	heap.Push(&t.ends, due{forgetAt(end, ttl), id})
	t.next.Store(t.ends[0].at)
	return token
}

func (t *tokens) remove(token *Token) {
	mine := t.byUser[token.User]
	delete(mine, token.ID)
	if len(mine) == 0 {
		delete(t.byUser, token.User)
	}
	t.change(token.ID, func(shard map[command.TokenID]*Token) { delete(shard, token.ID) })
	t.count.Add(-1)
}

// forgetAt is when the record of a token is deleted: a TTL after its end.
func forgetAt(end, ttl uint64) uint64 { return saturate(end, ttl) }

func saturate(a, b uint64) uint64 {
	if a+b < a {
		return ^uint64(0)
	}
	return a + b
}

// forgotten returns a token whose record is due to be deleted at a cluster time, the one that was due first, or nil.
func (t *tokens) forgotten(now uint64) *Token {
	for len(t.ends) > 0 && t.ends[0].at <= now {
		first := t.ends[0]
		token := t.find(first.id)
		at := uint64(0)
		if token != nil {
			at = forgetAt(token.end.Load(), token.TTL)
		}
		switch {
		case token == nil:
			heap.Pop(&t.ends)
		case at > first.at:
			// It was used since; look again when it is due now.
			t.ends[0].at = at
			heap.Fix(&t.ends, 0)
		default:
			heap.Pop(&t.ends)
			t.nextDue()
			return token
		}
	}
	t.nextDue()
	return nil
}

func (t *tokens) nextDue() {
	next := uint64(0)
	if len(t.ends) > 0 {
		next = t.ends[0].at
	}
	t.next.Store(next)
}

// due says when to look whether a token is to be forgotten; it may have been used since that was noted.
type due struct {
	at uint64
	id command.TokenID
}

// ends is a heap of dues, in an order that is the same on every member.
type ends []due

func (e ends) Len() int { return len(e) }
func (e ends) Less(i, j int) bool {
	if e[i].at != e[j].at {
		return e[i].at < e[j].at
	}
	return string(e[i].id[:]) < string(e[j].id[:])
}
func (e ends) Swap(i, j int) { e[i], e[j] = e[j], e[i] }

// Push is for package heap.
func (e *ends) Push(x any) { *e = append(*e, x.(due)) }

// Pop is for package heap.
func (e *ends) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}
